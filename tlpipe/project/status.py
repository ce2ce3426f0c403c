"""`tlpipe status` and `tlpipe upgrade`: what the installed code would rerun, and a dvc.yaml that is up to date."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlpipe.code.fingerprint import code_of, read_code
from tlpipe.config import PARAMS, ConfigError, read
from tlpipe.project.pipeline import pipeline
from tlpipe.yaml_text import load_yaml

PIPELINE, LOCK, CODE = Path("dvc.yaml"), Path("dvc.lock"), "data/code.json"
COMMAND = "tlpipe stage "
"""What the commands of this package's stages begin with."""
SHOWN = 6
"""Files that are named for one stage."""


def changes(root: Path = Path()) -> list[str]:
    """A line a stage that is to run again because of its code, with what has changed; none where all is up to date.

    Compares dvc.lock, which says with which code each stage ran, with the code that is installed now. Stages that
    never ran are not listed. Raises ConfigError outside of a project.
    """
    params = read(root / PARAMS)
    known = locked(root / LOCK)
    installed, before = code_of(sorted({stage.partition("@")[0] for stage in known}), params), read_code(root / CODE)
    lines = []
    for stage, value in known.items():
        name = stage.partition("@")[0]
        if installed["stages"].get(name) != value:
            lines.append(f"{stage}: {_why(name, params, before, installed)}")
    return lines


def locked(path: Path) -> dict[str, str]:
    """By stage of dvc.lock: the fingerprint of the code that it ran with. Empty where nothing ran yet."""
    if not path.is_file():
        return {}
    stages = (load_yaml(path.read_text(encoding="utf-8")) or {}).get("stages", {})
    codes = {stage: entry.get("params", {}).get(CODE, {}) for stage, entry in stages.items()}
    return {stage: str(next(iter(code.values()))) for stage, code in codes.items() if code}


def _why(stage: str, params: Mapping[str, Any], before: Mapping[str, Any], installed: Mapping[str, Any]) -> str:
    if not before:
        return f"other code ({CODE} is not there to say which; `dvc pull` or `dvc repro code` brings it)"
    own = code_of([stage], params)
    packages = [
        f"{name} {before['packages'].get(name) or 'none'} -> {version or 'none'}"
        for name, version in own["packages"].items()
        if before["packages"].get(name) != version
    ]
    files = [name for name, value in own["files"].items() if before["files"].get(name) != value]
    more = [f"and {len(files) - SHOWN} more"] if len(files) > SHOWN else []
    return ", ".join([*packages, *files[:SHOWN], *more]) or "it no longer uses a file that it used"


def rewrite(root: Path = Path()) -> bool:
    """Write dvc.yaml for params.yaml; stages of somebody else's stay, below. Whether it was not so already.

    Raises:
        ConfigError: params.yaml is not there, or dvc.yaml is no pipeline.
    """
    path = root / PIPELINE
    wanted = pipeline(read(root / PARAMS), root)
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    text = wanted + "".join(f"\n{block}" for block in foreign_stages(before))
    if text == before:
        return False
    path.write_text(text, encoding="utf-8")
    return True


def foreign_stages(text: str) -> list[str]:
    """The blocks of a dvc.yaml whose commands are not this package's, as they stand there.

    Raises:
        ConfigError: There is more at the top level than stages, which would be lost.
    """
    content = load_yaml(text) if text.strip() else {}
    if not isinstance(content, dict) or set(content) - {"stages"}:
        more = ", ".join(sorted(set(content) - {"stages"})) if isinstance(content, dict) else "no mapping"
        raise ConfigError(
            f"{PIPELINE} has more than stages ({more}), and is not written anew; put the stages that you need from "
            "`tlpipe init` in an empty folder into it"
        )
    stages = content.get("stages", {})
    own = [name for name, stage in stages.items() if not str((stage or {}).get("cmd", "")).startswith(COMMAND)]
    lines = text.splitlines(keepends=True)
    starts = {
        line.strip().rstrip(":"): at for at, line in enumerate(lines) if line.startswith("  ") and line[2] not in " #"
    }
    order = sorted(starts.values())
    blocks = []
    for name in own:
        start = starts[name]
        end = next((at for at in order if at > start), len(lines))
        blocks.append("".join(lines[start:end]).rstrip() + "\n")
    return blocks

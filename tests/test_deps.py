"""dvc.yaml names, for every stage, exactly the files of ours that its result depends on."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from closure import ROOT, imports, needed, unfolded
from ruamel.yaml import YAML

STAGES: dict[str, dict[str, Any]] = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]


@pytest.mark.parametrize("name", STAGES)
def test_code_deps_are_the_import_closure(name: str) -> None:
    assert unfolded(STAGES[name]["deps"]) == needed(STAGES[name]), "run `python tests/closure.py`"


def test_function_level_imports_count(tmp_path: Path) -> None:
    script = tmp_path / "late.py"
    script.write_text("def f():\n    from tlpipe.train import fit\n")
    assert ROOT / "tlpipe/train/fit.py" in imports(script)


@pytest.mark.parametrize("name", STAGES)
def test_every_section_that_a_stage_loads_is_declared(name: str) -> None:
    tree = ast.parse((ROOT / "tlpipe/stages" / f"{STAGES[name]['cmd'].split()[2]}.py").read_text())
    loaded = {
        call.args[0].value.split(".")[0] if isinstance(call.args[0], ast.Constant) else "finetune"
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and getattr(call.func, "attr", getattr(call.func, "id", "")) == "load"
        and call.args
    }
    declared = {param.split(".")[0] for param in STAGES[name].get("params", []) if isinstance(param, str)}
    shows_only = {"tracking"} if name in ("pretrain", "finetune", "export") else set()
    assert loaded - shows_only == declared or name == "check"


@pytest.mark.parametrize("what", ["import tlpipe.stages", "from tlpipe.cli import main; main()"])
def test_a_process_ends_without_a_search_for_garbage(what: str):
    last = (
        "import atexit, gc, sys; sys.argv = ['tlpipe', '--help']; atexit.register(lambda: print(gc.get_freeze_count()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{last}; {what}"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert int(done.stdout.split()[-1]) > 1000

"""`tlpipe check`: the params file, the data and the weights that it names, before any work."""

from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path

from tlpipe.across import unlisted
from tlpipe.advise.told import outcome, told
from tlpipe.config import PARAMS, ConfigError, read
from tlpipe.data.known import known_classes, known_samples
from tlpipe.params import Params, load_params, outline
from tlpipe.plan_table import NO_NETWORK, UNSETTLED, line
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.project.first_look import look_at_data, require_weights
from tlpipe.project.memory import require_memory
from tlpipe.project.pipeline import pipeline, stages_of
from tlpipe.strategies.counting import summary

PIPELINE = Path("dvc.yaml")
FALLBACK_CLASSES = 2


def check(params: str | Path = PARAMS) -> list[str]:
    """Lines about what was found and what is going to run; paths in the file are seen from its folder.

    Raises:
        ConfigError: Anything cannot work: with every problem of the file, or the first one of the data.
    """
    file = Path(params)
    with chdir(file.parent):
        path = Path(file.name)
        read(path)
        loaded = load_params(path)
        preprocess = loaded.backbone.preprocess() if loaded.backbone.settled else None
        pixels = preprocess.size**2 if isinstance(preprocess, ImagePreprocess) else None
        seen = look_at_data(loaded.data, pixels)
        require_weights(read(path)["backbone"])
        _require_stages(path)
        machine = loaded.runtime.resolve(loaded.backbone.hidden_size)
        memory = require_memory(loaded, machine, known_classes() or FALLBACK_CLASSES)
        return [
            f"{params}: ok; {loaded.task.kind} on {loaded.backbone.kind}",
            *(f"  {text}" for text in (*seen, *memory, *_strategies(loaded, path))),
        ]


def _strategies(loaded: Params, path: Path) -> list[str]:
    raw = read(path)
    waiting = {name: told(name, raw) for name in loaded.strategies if not loaded.finetune[name].settled}
    plans = outline(loaded, known_classes() or FALLBACK_CLASSES, known_samples())
    shown: Mapping[str, str] = {
        **({} if loaded.backbone.settled else dict.fromkeys(loaded.strategies, UNSETTLED)),
        **{name: outcome(contenders) for name, contenders in waiting.items()},
        **{name: line(summary(*plan)) for name, plan in plans.items()},
        **{name: NO_NETWORK for name in loaded.strategies if not loaded.finetune[name].network},
    }
    idle = unlisted(loaded.strategies, loaded.finetune)
    return [
        *(f"{name}: {shown[name]}" for name in loaded.strategies),
        *(f"{name}: does not run, as strategies does not list it" for name in idle),
    ]


def _require_stages(path: Path) -> None:
    """Raise ConfigError where dvc.yaml lacks a stage that these params need."""
    if not PIPELINE.is_file():
        return
    needed, there = stages_of(pipeline(read(path))), stages_of(PIPELINE.read_text(encoding="utf-8"))
    if missing := [name for name in needed if name not in there]:
        raise ConfigError(
            f"{PIPELINE} has no stage {', '.join(missing)}, which these params need; `tlpipe upgrade` writes it anew"
        )

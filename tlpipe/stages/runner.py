"""Stage runner: `tlpipe stage NAME [ARGUMENT]`.

A bad configuration ends a stage with one message on stderr and exit code 2, never with a traceback.
"""

import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import import_module

from tlpipe.config import ConfigError, suggest
from tlpipe.cores import VARIABLE, usable_cores
from tlpipe.endings import leave
from tlpipe.stages.claim import claimed
from tlpipe.troubles import KEPT, TRACEBACKS, sentence

ENTRY = "tlpipe.stages"
"""`python -m` of this runs a stage as the command does; torchrun needs a module to start."""


INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


@dataclass(frozen=True)
class Stage:
    """How a stage is started; its code is the function `main` of the module with its name."""

    argument: str | None = None
    """Name of its one argument, if it has one."""
    together: bool = False
    """Whether it runs in as many processes as `runtime.processes` says; the first one alone speaks and writes."""


STAGES = {
    "code": Stage(),
    "choose": Stage(),
    "check": Stage(),
    "sample_data": Stage(),
    "sample_solar": Stage(),
    "sample_text": Stage(),
    "tokenizer": Stage(),
    "prepare": Stage(),
    "pretrain": Stage(together=True),
    "embed": Stage(together=True),
    "advise": Stage(),
    "head": Stage(),
    "finetune": Stage("strategy", together=True),
    "evaluate": Stage("strategy", together=True),
    "baseline": Stage(),
    "compare": Stage(),
    "export": Stage(),
    "report": Stage(),
}


def run_stage(name: str, argument: str | None = None) -> None:
    """Run a stage in the current folder and end the process with its exit code.

    Raises ConfigError for a name that is no stage, and for an argument too many or too few.
    """
    # before torch is imported: stages that set no threads must not take more than a container has, either
    os.environ.setdefault(VARIABLE, str(usable_cores()))
    stage = STAGES.get(name)
    if stage is None:
        raise ConfigError(f"there is no stage {name!r}{suggest(name, STAGES)}")
    if (argument is None) != (stage.argument is None):
        wanted = f"takes one argument, the {stage.argument}" if stage.argument else "takes no argument"
        raise ConfigError(f"the stage {name} {wanted}")
    arguments = [] if argument is None else [argument]
    work = partial(_main, name, *arguments)
    leave(run(work, [name, *arguments] if stage.together else [], "-".join((name, *arguments))) or 0)


def _main(name: str, *arguments: str) -> int | None:
    """Import a stage's code, which may take seconds, and do its work."""
    code: int | None = import_module(f"{__package__}.{name}").main(*arguments)
    return code


def script(*words: str) -> None:
    """Run the stage that `words` and the words of the command line name. For `python -m`; a wrong call ends with 2."""
    given = [*words, *sys.argv[1:]]
    try:
        if not 1 <= len(given) <= 2:
            raise ConfigError(f"a stage and at most one argument are needed, got {' '.join(given) or 'nothing'}")
        run_stage(*given)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def run(work: Callable[[], int | None], workers: list[str] | None = None, claim: str | None = None) -> int | None:
    """Do a stage's work; a ConfigError, or an error of the system's, becomes a message and exit code 2.

    `workers`: what torchrun starts the workers with, for a stage that several processes do together.
    `claim`: the name of the outs and the recovery state that no other `dvc repro` may work at meanwhile.
    """
    try:
        if workers:
            return _together(work, workers, claim)
        with claimed(claim) if claim else nullcontext():
            return work()
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        _refuse(bool(workers))
        raise
    except KeyboardInterrupt as error:
        print(f"error: {sentence(error, KEPT)}", file=sys.stderr, flush=True)
        sys.exit(INTERRUPTED)
    except Exception as error:
        message = sentence(error, KEPT)
        if message is None or os.environ.get(TRACEBACKS):
            raise
        # torchrun would start the workers again, and the disk would still be full
        print(f"error: {message}", file=sys.stderr, flush=True)
        _refuse(bool(workers))
        raise


def _together(work: Callable[[], int | None], workers: list[str], claim: str | None) -> int | None:
    from tlpipe import config
    from tlpipe.train.hardware.device import Runtime
    from tlpipe.train.hardware.distributed import launch, team

    launch(config.load("runtime", Runtime).processes, ENTRY, workers)
    if not team().first:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    with claimed(claim) if claim and team().first else nullcontext():
        return work()


def _refuse(together: bool) -> None:
    """Exit with code 2; torchrun must not try again what was refused."""
    if not together:
        sys.exit(2)
    from tlpipe.train.hardware.distributed import refuse

    refuse()

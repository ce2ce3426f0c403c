"""The command line: what can be checked, seen and published without running a stage."""

# Nothing heavy is imported above the commands: `tlpipe --help` must be there at once.
import atexit
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from tlpipe import __version__, project_commands, serve_commands
from tlpipe.config import PARAMS, ConfigError, read, suggest
from tlpipe.dvc_lock import heal
from tlpipe.endings import end_quickly
from tlpipe.troubles import TRACEBACKS, explain_uncaught, sentence

if TYPE_CHECKING:
    from tlpipe.advise.decision import Contender
    from tlpipe.params import Params

SCHEMA = Path("params.schema.json")
FALLBACK_CLASSES = 2
PLACES = (
    "A folder of class folders, a .csv with columns image and label, a .conll or .jsonl of tagged words, a SQuAD "
    ".json, or a params.yaml, whose task and data count."
)


class _Readable(TyperGroup):
    """A bad configuration ends as a message and exit code 2, never as a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            typer.echo(error, err=True)
            raise typer.Exit(2) from None
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("tlpipe"):
                raise
            typer.echo(f"{error.name} is not installed; what trains needs: pip install 'tlpipe[train]'", err=True)
            raise typer.Exit(2) from None
        except BrokenPipeError:
            raise  # who reads has seen enough; click ends quietly
        except OSError as error:
            if os.environ.get(TRACEBACKS):
                raise
            typer.echo(sentence(error), err=True)
            raise typer.Exit(2) from None


app = typer.Typer(cls=_Readable, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
ParamsFile = Annotated[Path, typer.Argument(help="The params file.", show_default=True)]


project_commands.add(app)
serve_commands.add(app)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"tlpipe {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Declarative transfer learning: the pipeline itself runs with `dvc repro`."""


@app.command()
def check(params: ParamsFile = PARAMS) -> None:
    """Check everything in the params file, the data and the weights that it names, before any work.

    Heals DVC's lock file if a kill left it half written.
    """
    if healed := heal(Path.cwd()):
        typer.echo(healed, err=True)
    read(params)  # A file that is not there or not YAML should not wait for torch to be imported.
    from tlpipe.project.check import check as look

    typer.echo("\n".join(look(params)))


@app.command()
def stage(
    name: Annotated[str, typer.Argument(help="A stage of dvc.yaml.")],
    argument: Annotated[str | None, typer.Argument(help="The strategy, for the stages that do one of them.")] = None,
) -> None:
    """Run one stage in this folder, as `dvc repro` does; what it reads must be there."""
    from tlpipe.stages.runner import run_stage

    run_stage(name, argument)


@app.command()
def plan(
    params: ParamsFile = PARAMS,
    as_json: Annotated[bool, typer.Option("--json", help="Rows for programs instead of tables.")] = False,
    classes: Annotated[
        int | None, typer.Option(min=2, help="Size of the head; what `prepare` found, else 2, if not given.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Training samples; what `prepare` found, else unknown, if not given.")
    ] = None,
) -> None:
    """Show what each strategy trains, in which phase and at which rate; touches no data and no weights.

    Of kind: auto what the advise stage chose, once it has for these params.
    """
    loaded = _load(params)
    from tlpipe.advise.told import outcome
    from tlpipe.data.known import known_classes, known_samples
    from tlpipe.params import outline
    from tlpipe.plan_table import NO_NETWORK, UNSETTLED, render
    from tlpipe.strategies.counting import account

    outputs = classes or known_classes() or FALLBACK_CLASSES
    count = samples or known_samples() or (loaded.data.expected(classes) if classes else None)
    told = _told(loaded, params)
    advised = {_label(name, each.name, found): each.strategy for name, found in told.items() for each in found}
    decay, plans = loaded.training.decay(count), outline(loaded, outputs, count, advised)
    accounts = {name: account(plan, sizes, decay, count) for name, (plan, sizes) in plans.items()}
    if as_json:
        chosen = {name: [each.name for each in found] for name, found in told.items()}
        content = {"classes": outputs, "samples": count, "strategies": accounts, "advised": chosen}
        typer.echo(json.dumps(content, indent=2))
        return
    from tlpipe.progress import plain_console

    console = plain_console()
    for name, each in accounts.items():
        console.print(render(each, name))
    for name, found in told.items():
        console.print(f"{name}: {outcome(found)}", soft_wrap=True)
    if not loaded.backbone.settled:
        console.print(UNSETTLED, soft_wrap=True)
    for name in (each for each in loaded.strategies if not loaded.finetune[each].network):
        console.print(f"{name}: {NO_NETWORK}", soft_wrap=True)
    console.print(f"The head is counted for {outputs} classes.", style="dim")


@app.command("lr-range")
def lr_range(
    strategy: Annotated[str, typer.Argument(help="An entry of `finetune`.")],
    params: ParamsFile = PARAMS,
    steps: Annotated[int, typer.Option(min=20, max=10_000, help="About how many steps the test takes.")] = 100,
    high: Annotated[float, typer.Option(min=1e-6, max=10, help="The last rate; the first is a millionth of it.")] = 1.0,
) -> None:
    """Suggest a peak learning rate from a short training whose rate climbs; changes no file that DVC tracks."""
    loaded = _load(params)
    if strategy not in loaded.finetune:
        raise ConfigError(f"finetune has no strategy {strategy!r}{suggest(strategy, loaded.finetune)}")
    from tlpipe.lr_range import chart, measure

    points, suggested = measure(loaded, strategy, steps, high)
    typer.echo(chart(points))
    typer.echo(f"suggested peak rate: lr: {suggested:g} (a tenth of where the smoothed training loss is lowest)")


@app.command()
def advise(
    place: Annotated[Path, typer.Argument(help=PLACES)],
    backbone: Annotated[
        list[str],
        typer.Option(
            help="torchvision:NAME, timm:NAME, huggingface:NAME, checkpoint:FILE@torchvision:NAME, a params.yaml or "
            "models/source."
        ),
    ],
    strategies: Annotated[Path | None, typer.Option(help="A params.yaml whose `finetune` entries are judged.")] = None,
    size: Annotated[int | None, typer.Option(min=8, help="Edge of images in pixels, tokens of texts.")] = None,
    directions: Annotated[int, typer.Option(min=0, help="Of linearised fine-tuning; 0 = off.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Equal seed, equal advice.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="For programs instead of tables.")] = False,
) -> None:
    """Say which strategy, and which of several backbones, for these samples: nothing is trained, no pipeline needed."""
    from tlpipe.advise.standalone import answers
    from tlpipe.train.hardware.device import Runtime

    machine = Runtime(precision="fp32").resolve()
    found = answers(place, backbone, machine, strategies, size, seed, directions)
    if as_json:
        content = [{"backbone": answer.backbone, **answer.advice.summary()} for answer in found]
        typer.echo(json.dumps(content, indent=2))
        return
    from tlpipe.advise.show import render as show
    from tlpipe.progress import plain_console

    plain_console().print(show(found))


@app.command()
def schema(out: Annotated[Path, typer.Option(help="Where to write it.")] = SCHEMA) -> None:
    """Write the JSON Schema of the params file, for editors."""
    out.write_text(schema_text(), encoding="utf-8")
    typer.echo(f"wrote {out}")


@app.command()
def publish() -> None:
    """Publish the runs that MLflow did not take while they ran; exit code 1 when some still wait."""
    from tlpipe.tracking import flush, pending

    if not pending():
        typer.echo("nothing waits to be published")
        return
    report = flush()
    for name in report.published:
        typer.echo(f"published {name}")
    for name, reason in report.waiting.items():
        typer.echo(f"{name} still waits: {reason}", err=True)
    raise typer.Exit(1 if report.waiting else 0)


def _load(path: Path) -> "Params":
    read(path)  # A file that is not there or not YAML should not wait for torch to be imported.
    from tlpipe.params import load_params

    return load_params(path)


def _told(loaded: "Params", params: Path) -> "dict[str, tuple[Contender, ...]]":
    """What the strategies that wait for advice are, as far as that is known for these params."""
    from tlpipe.advise.told import told

    raw = read(params)
    return {name: told(name, raw) for name in loaded.strategies if not loaded.finetune[name].settled}


def _label(name: str, contender: str, contenders: "tuple[Contender, ...]") -> str:
    return name if len(contenders) == 1 else f"{name}: {contender}"


def schema_text() -> str:
    """The JSON Schema of params.yaml, as `tlpipe schema` writes it."""
    from tlpipe.params import Params

    content = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Params.model_json_schema()}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """The `tlpipe` command."""
    explain_uncaught()
    atexit.register(end_quickly)
    app()

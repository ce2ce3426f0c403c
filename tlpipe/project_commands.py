"""The commands that make, run and maintain a project: init, run, backbones, status, upgrade."""

from pathlib import Path
from typing import Annotated

import typer

HERE = Path()


def add(app: typer.Typer) -> None:
    """Register them."""
    app.command()(init)
    app.command()(run)
    app.command()(backbones)
    app.command()(status)
    app.command()(upgrade)


def init(
    folder: Annotated[Path, typer.Argument(help="The project's folder; made if it is not there.")] = HERE,
    data: Annotated[
        Path | None,
        typer.Option(help="Images in a folder a class, a table, .conll files, SQuAD's .json, or a folder of these."),
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Copy a recipe instead: digits, images, sst2, ...")] = None,
    backbone: Annotated[str | None, typer.Option(help="KIND or KIND:NAME, such as timm:resnet18.")] = None,
    no_scm: Annotated[bool, typer.Option("--no-scm", help="Use no git; a DVC project of its own.")] = False,
) -> None:
    """Start a project: look at the data, and write a params.yaml and a dvc.yaml that fit them."""
    from tlpipe.project.init import init as write

    done = write(folder, data, recipe, backbone, not no_scm)
    if done.seen:
        typer.echo("\n".join(["Seen:", *(f"  {line}" for line in done.seen)]))
    if done.chosen:
        typer.echo("\n".join(["Chosen:", *(f"  {line}" for line in done.chosen)]))
    typer.echo(f"Written in {done.folder}: {', '.join(done.files)}")
    go = "" if done.folder == Path.cwd() else f"cd {folder} && "
    typer.echo(f"Next: {go}dvc repro        (before it, to see what will train: tlpipe check && tlpipe plan)")


def run(
    targets: Annotated[list[str] | None, typer.Argument(help="Stages; all that are out of date if none.")] = None,
) -> None:
    """Run the pipeline: `dvc repro` with the number of each stage, and the champion at the end."""
    from tlpipe.project.run import run as repro

    repro(Path(), targets or (), typer.echo)


def backbones(
    as_json: Annotated[bool, typer.Option("--json", help="Rows for programs, each with its section.")] = False,
    measure: Annotated[bool, typer.Option(help="Time a forward pass of each here.")] = True,
    network: Annotated[bool, typer.Option(help="Try whether hosts can be reached.")] = True,
) -> None:
    """List the pretrained weights that can be had on this machine now, with size, input, licence and cost here."""
    import json
    from dataclasses import asdict

    from tlpipe.project.backbones import rows, table

    listed = list(rows(HERE, measure, network))
    typer.echo(json.dumps([asdict(row) for row in listed], indent=1) if as_json else table(listed))


def status() -> None:
    """Show which stages the installed code would rerun, and why; changes nothing."""
    from tlpipe.project.status import changes

    lines = changes()
    typer.echo("\n".join(lines) if lines else "the code of every stage is the one that its results are from")


def upgrade() -> None:
    """Write dvc.yaml anew where another version or other params need it; stages of your own stay. Then as status."""
    from tlpipe.project.status import rewrite

    typer.echo("dvc.yaml is written anew" if rewrite() else "dvc.yaml is up to date")
    status()

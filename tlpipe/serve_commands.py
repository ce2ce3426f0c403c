"""The commands for what is done with a bundle: predict, serve, export elsewhere. Light until one of them runs."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Literal

import typer

from tlpipe.config import ConfigError, parse

BundleFolder = Annotated[Path, typer.Argument(help="The bundle's folder (models/bundle).", show_default=False)]
DeviceOption = Annotated[
    Literal["auto", "cpu", "cuda", "tensorrt"],
    typer.Option(help="auto takes CUDA where it works; any other is that device or an error."),
]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0 = all that this process may use.")]
MaxPixels = Annotated[
    int | None, typer.Option(min=1, help="Larger images are refused undecoded; the training's limit if not given.")
]


def doctor() -> None:
    """Show what this machine can serve with, and why not with the rest."""
    from tlpipe.serve.doctor import report

    for line in report():
        typer.echo(line)


def predict(
    bundle: BundleFolder,
    paths: Annotated[
        list[Path], typer.Argument(help="Files, tables and JSONL files of a sample a line, and folders with files.")
    ],
    out: Annotated[Path | None, typer.Option(help="Where to write; standard output if not given.")] = None,
    form: Annotated[
        Literal["csv", "jsonl"] | None, typer.Option("--format", help="As the name of --out ends, else csv.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="The probability of every class.")] = False,
    top: Annotated[int, typer.Option(min=1, help="Labels an answer (JSONL).")] = 5,
    device: DeviceOption = "auto",
    threads: Threads = 0,
    batch: Annotated[int, typer.Option(min=1, help="Rows a call of the graph.")] = 32,
    max_pixels: MaxPixels = None,
    text_column: Annotated[str | None, typer.Option(help="Of a table: holds the text, or the question.")] = None,
    pair_column: Annotated[str | None, typer.Option(help="Of a table: the second text, or the context.")] = None,
) -> None:
    """Answer for samples, a line each; what cannot be read gets a line with the reason. Exit code 1 if all are such."""
    from tlpipe.progress import track
    from tlpipe.serve.files import Counts, columns, found, predict_files, write
    from tlpipe.serve.predictor import Predictor

    chosen = form or ("jsonl" if out is not None and out.suffix == ".jsonl" else "csv")
    predictor = Predictor(bundle, device, threads, batch, top, max_pixels)
    named = columns(predictor.loaded.reading.cells_in, text_column, pair_column)
    files = found(paths, predictor.loaded.reading.endings, out)
    predictor.top = len(predictor.loaded.bundle.labels) if every else top
    counts = Counts()
    with _open(out) as file:
        written = write(file, predict_files(predictor, files, named), predictor, chosen, every)
        for latest in track(written, "predict", unit="samples"):
            counts = latest
    typer.echo(f"{counts.answered:,} answered, {counts.bad:,} could not be used", err=True)
    raise typer.Exit(1 if counts.bad and not counts.answered else 0)


@contextmanager
def _open(out: Path | None) -> Iterator[IO[str]]:
    if out is None:
        yield sys.stdout
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # A file name need not be UTF-8; what is not becomes an escape that JSON can read.
        file = out.open("w", encoding="utf-8", errors="backslashreplace", newline="")
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror}") from None
    try:
        with file:
            yield file
    except OSError as error:
        if error.filename is not None:  # of another file, which was to be read
            raise
        raise ConfigError(f"{out} cannot be written to its end: {error.strerror}") from None


def serve(
    bundle: BundleFolder,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all needs --token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one, and the log says which.")] = 8000,
    name: Annotated[str, typer.Option(help="The model's name in /v2/models/NAME.")] = "model",
    device: DeviceOption = "auto",
    threads: Threads = 0,
    gpu: Annotated[int, typer.Option(min=0, help="Which GPU.")] = 0,
    gpu_gigabytes: Annotated[float, typer.Option(min=0, help="Most GPU memory; 0 = no limit.")] = 0,
    cuda_graph: Annotated[
        list[int] | None, typer.Option(help="A size of batch to capture as a CUDA graph; several times for several.")
    ] = None,
    max_batch: Annotated[
        int | None,
        typer.Option(
            min=1, max=4096, help="Most samples a call (by default 32 on a GPU, 1 image or 8 texts on a CPU)."
        ),
    ] = None,
    max_delay: Annotated[float, typer.Option(min=0, max=1, help="Seconds a sample may wait for others.")] = 0.002,
    queue: Annotated[int, typer.Option(min=1, help="Most samples that wait; more get 503.")] = 256,
    max_body: Annotated[int, typer.Option(min=1, help="Most bytes of a request's body.")] = 64 * 2**20,
    max_pixels: MaxPixels = None,
    max_items: Annotated[int, typer.Option(min=1, help="Most samples a request.")] = 64,
    body_seconds: Annotated[float, typer.Option(min=0.01, help="For a body to arrive, else 408.")] = 30,
    answer_seconds: Annotated[float, typer.Option(min=0.01, help="For an answer, else 503.")] = 30,
    token: Annotated[str | None, typer.Option(envvar="TLPIPE_TOKEN", help="Clients must send it.")] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Without a token also where other machines can reach the server.")
    ] = False,
    certificate: Annotated[Path | None, typer.Option(help="PEM file; with --key, the server speaks TLS.")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file of the certificate's key.")] = None,
    watch: Annotated[float, typer.Option(min=0, help="Seconds between looks for a new bundle; 0 = SIGHUP only.")] = 0,
    drain: Annotated[float, typer.Option(min=0, help="Seconds after SIGTERM in which requests are taken.")] = 1,
    requests_log: Annotated[bool, typer.Option(help="A log line a request.")] = True,
) -> None:
    """Serve a bundle over HTTP: /predict, Open Inference Protocol v2, /metrics, and a page at / to try it."""
    from tlpipe.serve.http.server import serve as run
    from tlpipe.serve.http.settings import Settings

    door = {"host": host, "port": port, "token": token, "insecure": insecure, "certificate": certificate, "key": key}
    limits = {"body": max_body, "pixels": max_pixels, "items": max_items}
    graphs = tuple(cuda_graph or ())
    runtime = {"device": device, "threads": threads, "gpu": gpu, "gpu_gigabytes": gpu_gigabytes, "cuda_graphs": graphs}
    content = {
        **door, "bundle": bundle, "name": name, "watch": watch, "drain": drain, "requests_log": requests_log,
        "runtime": runtime,
        "batching": {"max_batch": max_batch, "max_delay": max_delay, "queue": queue},
        "limits": limits | {"body_seconds": body_seconds, "answer_seconds": answer_seconds},
    }  # fmt: skip
    run(parse(content, Settings, "serve"))


def export(
    bundle: BundleFolder,
    to: Annotated[Literal["triton", "kserve"], typer.Option(help="Whose format.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    name: Annotated[str, typer.Option(help="The model's name there.")] = "model",
    gpu: Annotated[bool, typer.Option("--gpu", help="Run it on GPUs.")] = False,
    instances: Annotated[int, typer.Option(min=1, max=64, help="Copies a GPU, or on the CPU.")] = 1,
    max_batch: Annotated[int, typer.Option(min=1, max=4096, help="Most samples a call of the graph.")] = 32,
    max_delay: Annotated[float, typer.Option(min=0, max=1, help="Seconds a sample may wait for others.")] = 0.002,
    queue: Annotated[int, typer.Option(min=1, help="Most requests that wait.")] = 256,
    storage: Annotated[str | None, typer.Option(help="kserve: where the repository will be, as s3://...")] = None,
) -> None:
    """Write a bundle as Triton's model repository, or as that and KServe's InferenceService."""
    from tlpipe.serve.triton import Target, write_repository, write_service

    content = {"name": name, "gpu": gpu, "instances": instances, "max_batch": max_batch, "max_delay": max_delay}
    target: Target = parse(content | {"queue": queue}, Target, "export")
    if to == "triton":
        typer.echo(f"wrote {write_repository(out, bundle, target)}")
        return
    if storage is None:
        raise ConfigError("KServe fetches the repository from a storage; say where you will put it: --storage s3://...")
    typer.echo(f"wrote {write_service(out, bundle, target, storage)}; copy {out / 'repository'} to {storage}")


def variants(
    bundle: BundleFolder,
    data: Annotated[Path, typer.Argument(help="The packed data that the model was trained on.")] = Path("data/packed"),
    out: Annotated[Path, typer.Option(help="Where the bundles of kept variants go.")] = Path("models/variants"),
    report: Annotated[Path, typer.Option(help="All figures.")] = Path("reports/variants.json"),
    loss: Annotated[float, typer.Option(min=0, max=1, help="Most accuracy lost, with 95 % confidence.")] = 0.02,
    faster: Annotated[float, typer.Option(min=1, help="Least speed relative to the bundle's own.")] = 1.1,
    calibration: Annotated[int, typer.Option(min=2, help="Training samples for calibration.")] = 128,
    device: DeviceOption = "auto",
    threads: Threads = 0,
) -> None:
    """Make fp16 and int8 bundles, and keep those that are faster here and lose no more than they may."""
    from tlpipe.serve.runtime.session import Runtime
    from tlpipe.serve.variants.gate import Gate
    from tlpipe.serve.variants.search import make_variants

    gate, runtime = Gate(loss=loss, faster=faster, calibration=calibration), Runtime(device=device, threads=threads)
    findings = []
    for finding in make_variants(bundle, data, out, runtime, gate):
        findings.append(finding.model_dump(mode="json"))
        kept = f"kept in {out / finding.variant}" if not finding.problems else "not kept"
        typer.echo(f"{finding.variant}: {kept}; {finding.summary()}")
        for problem in finding.problems:
            typer.echo(f"  {problem}")
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps(findings, indent=2) + "\n", encoding="utf-8")


def add(app: typer.Typer) -> None:
    """Put the commands of this module into `app`."""
    for command in (doctor, predict, serve, export, variants):
        app.command()(command)

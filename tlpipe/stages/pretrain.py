"""pretrain: the source backbone, trained here or fetched and recorded once; no later stage needs a network."""

import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tlpipe import config
from tlpipe.backbones import AnyBackbone
from tlpipe.backbones.base import Backbone, Encoder
from tlpipe.backbones.bert import Bert
from tlpipe.backbones.letters import Letters
from tlpipe.backbones.weights import fingerprint, require_numbers
from tlpipe.data.corpus import ABOUT, Corpus, pack_corpus, read_documents
from tlpipe.preprocess.text import TOKENIZER
from tlpipe.progress import track
from tlpipe.stages.follow import follow, resume
from tlpipe.tracking import Recorder, Tracking, code_tags, curve_values, dvc_tags, hardware_tags, source_tags
from tlpipe.train.hardware.device import Machine, Runtime
from tlpipe.train.pretraining.bert import LanguageEpoch, LanguageTrainer, pretraining_model
from tlpipe.train.pretraining.letters import HELD_OUT, letters_trainer, render_letters
from tlpipe.train.pretraining.source import Source, save_source
from tlpipe.train.trainer.history import said, write_json, write_records
from tlpipe.train.trainer.resume import Keeper, hash_code, hash_files, run_key

OUT = Path("models/source")
TOKENIZERS = Path("data/tokenizer")
REPORT = Path("reports/training/pretrain")
Provenance = dict[str, str | list[str]]


def main() -> None:
    """Write models/source/."""
    backbone: Backbone = config.load("backbone", AnyBackbone)
    runtime: Runtime = config.load("runtime", Runtime)
    machine, begun = runtime.resolve(backbone.hidden_size), time.perf_counter()
    if make := MAKERS.get(backbone.kind):
        encoder, provenance = make(backbone, machine, runtime)
    elif machine.team.first:
        encoder, provenance = backbone.pretrained()
    if not machine.team.first:
        return
    require_numbers(encoder, str(provenance["origin"]))
    source = Source.model_validate(
        {
            "backbone": backbone.resolved(),
            "preprocess": backbone.preprocess(),
            "origin": provenance["origin"],
            "sha256": provenance["sha256"],
            "skipped": tuple(provenance["skipped"]),
            "groups": encoder.groups,
            "feature_dim": encoder.feature_dim,
        }
    )
    save_source(OUT, encoder, source)
    timing = {"seconds": time.perf_counter() - begun, "device": machine.describe(), "precision": machine.precision}
    write_json(REPORT / "timing.json", timing)
    print(f"source backbone: {source.origin}, sha256 {source.sha256[:12]}…, groups {', '.join(source.groups)}")


def _letters(backbone: Letters, machine: Machine, runtime: Runtime) -> tuple[Encoder, Provenance]:
    keeper = Keeper("pretrain", run_key(backbone.model_dump(), runtime.model_dump(), hash_code("pretrain")))
    data = keeper.folder / "letters"
    if machine.team.first_here and not (data / "dataset.json").is_file():
        for _ in track(render_letters(backbone, data), "rendering letters", backbone.samples + HELD_OUT, "letters"):
            pass
    machine.team.barrier()
    trainer = letters_trainer(backbone, data, machine)
    for epoch in follow(trainer, keeper, f"pretraining on {machine.describe()}", resume(trainer, keeper)):
        print(f"epoch {epoch.epoch}: loss {epoch.train_loss:.3f}, held-out {said(epoch.validation)}")
    trained, encoder = trainer.trained(), backbone.encoder()
    inside = {name.removeprefix("encoder."): value for name, value in trained.items() if name.startswith("encoder.")}
    encoder.load_state_dict(inside)
    encoder.eval()
    machine.team.barrier()
    if machine.team.first_here:
        keeper.drop()
    origin = f"{backbone.samples:,} rendered letters, {backbone.epochs} epochs"
    return encoder, {"origin": origin, "sha256": fingerprint(encoder), "skipped": []}


def _bert(backbone: Bert, machine: Machine, runtime: Runtime) -> tuple[Encoder, Provenance]:
    """Pretrain BERT; the encoder keeps what fine-tuning needs, and its heads are left out."""
    team = machine.team
    files = hash_files([*map(Path, backbone.corpus), TOKENIZERS])
    key = run_key("pretrain", backbone.model_dump(), runtime.model_dump(), hash_code("pretrain"), files)
    keeper = Keeper("pretrain", key)
    data = keeper.folder / "corpus"
    if team.first_here and not (data / ABOUT).is_file():
        parts = pack_corpus(read_documents(backbone.corpus), TOKENIZERS / TOKENIZER, data)
        for _ in track(parts, "packing the corpus", None, "parts"):
            pass
    team.barrier()
    corpus = Corpus.open(data)
    print(f"corpus: {len(corpus.documents) - 1:,} documents, {len(corpus.sentences) - 1:,} sentences")
    model: Any = pretraining_model(backbone)
    trainer = LanguageTrainer(backbone, model, corpus, machine)
    journal = _journal(key, machine)
    _pretrain(trainer, keeper, journal)
    encoder = backbone.text_encoder()
    wanted = encoder.model.state_dict()
    encoder.model.load_state_dict({key: each for key, each in model.bert.cpu().state_dict().items() if key in wanted})
    team.barrier()
    if team.first:
        write_records(REPORT / "history.csv", trainer.at.history)
    if team.first_here:
        keeper.drop()
    journal.end()
    origin = f"{len(trainer.documents):,} documents, {backbone.epochs} epochs, from {backbone.start or 'fresh weights'}"
    return encoder, {"origin": origin, "sha256": fingerprint(encoder), "skipped": ["cls"]}


def _pretrain(trainer: LanguageTrainer, keeper: Keeper, journal: Recorder) -> None:
    """Go on to the end from where it was saved last, with a progress bar and a curve point an epoch."""
    team = trainer.team
    state = team.gather(keeper.load() if team.first else None)[0]
    if state is not None:
        trainer.restore(state)
        print(f"resuming after step {trainer.at.steps} ({keeper.path})", file=sys.stderr)
    left = trainer.total - trainer.at.steps
    for event in track(trainer.run(), f"pretraining BERT on {trainer.machine.describe()}", left, "steps"):
        if isinstance(event, LanguageEpoch):
            journal.metrics(event.step, curve_values(asdict(event)))
            print(
                f"epoch {event.epoch}: loss {event.train_loss:.3f}, held out: MLM accuracy {event.mlm_accuracy:.4f}, "
                f"perplexity {event.perplexity:.1f}, NSP accuracy {event.nsp_accuracy:.4f}"
            )
        if team.first and (keeper.due(isinstance(event, LanguageEpoch))):
            keeper.save(trainer.state())


def _journal(key: str, machine: Machine) -> Recorder:
    """The pretraining's own run in MLflow."""
    tracking: Tracking = config.load("tracking", Tracking)
    if not machine.team.first:
        return Recorder()
    journal, raw = tracking.journal(key, "pretrain"), config.read()
    journal.params({section: raw[section] for section in ("backbone", "runtime")})
    hardware = hardware_tags(machine.describe(), machine.precision)
    journal.tags({**code_tags(), **source_tags("pretrain"), **dvc_tags((TOKENIZERS,)), **hardware})
    return journal


MAKERS: dict[str, Callable[[Any, Machine, Runtime], tuple[Encoder, Provenance]]] = {"letters": _letters, "bert": _bert}
"""By the kind of the backbones that are trained here."""

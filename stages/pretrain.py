"""pretrain: the source backbone, trained here or fetched and recorded once; no later stage needs a network."""

import hashlib
from pathlib import Path

from stages.shell import follow, resume, run
from tlpipe import config
from tlpipe.backbones import AnyBackbone
from tlpipe.backbones.base import Backbone, Encoder
from tlpipe.backbones.checkpoint import Checkpoint
from tlpipe.backbones.letters import Letters
from tlpipe.progress import track
from tlpipe.train.checkpoint import Keeper, hash_code, run_key
from tlpipe.train.device import Machine, Runtime
from tlpipe.train.pretrain import HELD_OUT, letters_trainer, render_letters
from tlpipe.train.source import Source, save_source

OUT = Path("models/source")
WATCHED = Path("models/pretrained")
"""A dependency of this stage in dvc.yaml, for weights files of the user's own."""


def main() -> None:
    """Write models/source/."""
    backbone: Backbone = config.load("backbone", AnyBackbone)
    runtime: Runtime = config.load("runtime", Runtime)
    machine = runtime.resolve()
    if isinstance(backbone, Letters):
        encoder, provenance = _train(backbone, machine, runtime)
    else:
        if not machine.team.first:
            return
        encoder, provenance = backbone.pretrained()
    if not machine.team.first:
        return
    source = Source.model_validate(
        {
            "backbone": backbone,
            "preprocess": backbone.preprocess(),
            "origin": provenance["origin"],
            "sha256": provenance["sha256"],
            "skipped": tuple(provenance["skipped"]),
            "groups": encoder.groups,
            "feature_dim": encoder.feature_dim,
        }
    )
    save_source(OUT, encoder, source)
    if isinstance(backbone, Checkpoint) and WATCHED.resolve() not in Path(backbone.path).resolve().parents:
        print(
            f"note: DVC watches {WATCHED}/, not {backbone.path}; after replacing that file run `dvc repro -f pretrain`"
        )
    print(f"source backbone: {source.origin}, sha256 {source.sha256[:12]}…, groups {', '.join(source.groups)}")


def _train(backbone: Letters, machine: Machine, runtime: Runtime) -> tuple[Encoder, dict[str, str | list[str]]]:
    keeper = Keeper("pretrain", run_key(backbone.model_dump(), runtime.model_dump(), hash_code()))
    data = keeper.folder / "letters"
    if machine.team.first_here and not (data / "dataset.json").is_file():
        for _ in track(render_letters(backbone, data), "rendering letters", backbone.samples + HELD_OUT, "letters"):
            pass
    machine.team.barrier()
    trainer = letters_trainer(backbone, data, machine)
    for epoch in follow(trainer, keeper, f"pretraining on {machine.describe()}", resume(trainer, keeper)):
        print(f"epoch {epoch.epoch}: loss {epoch.train_loss:.3f}, held-out accuracy {epoch.validation_accuracy:.4f}")
    encoder = trainer.model.encoder.cpu()
    digest = hashlib.sha256()
    for name, value in sorted(encoder.state_dict().items()):
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    machine.team.barrier()
    if machine.team.first_here:
        keeper.drop()
    origin = f"{backbone.samples:,} rendered letters, {backbone.epochs} epochs"
    return encoder, {"origin": origin, "sha256": digest.hexdigest(), "skipped": []}


if __name__ == "__main__":
    run(main, together=True, trains="pretrain")

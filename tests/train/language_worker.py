"""What a worker of tests/train/test_distributed.py does for BERT's pretraining: train, and write down what came out.

python tests/train/language_worker.py FOLDER OUT; FOLDER has text, a tokenizer and the packed corpus.
"""

import json
import sys
from pathlib import Path

import torch

from tests.train.test_language import BERT
from tlpipe.backbones.bert import Bert
from tlpipe.data.corpus import Corpus
from tlpipe.train.hardware.device import Runtime
from tlpipe.train.pretraining.bert import LanguageTrainer, pretraining_model


def main(folder: Path, out: Path) -> None:
    machine = Runtime(device="cpu", precision="fp32", threads=1).resolve()
    backbone = Bert(corpus=(str(folder),), **BERT)
    model = pretraining_model(backbone)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # dropout is drawn by each process for its own samples
    trainer = LanguageTrainer(backbone, model, Corpus.open(folder), machine)
    for _ in trainer.run():
        pass
    if machine.team.first:
        torch.save({"model": trainer.model.state_dict()}, out / "result.pt")
        names = ("train_loss", "mlm_loss", "mlm_accuracy", "nsp_loss", "nsp_accuracy")
        figures = [[epoch[name] for name in names] for epoch in trainer.at.history]
        (out / "history.json").write_text(json.dumps({"size": machine.team.size, "figures": figures}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""BERT's pretraining (masked language modelling, next-sentence prediction): killed anywhere, it ends with equal bits.

What is drawn is a function of (seed, purpose, epoch, step), as in the training core, so that a state has no generator.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tlpipe.backbones.bert import Bert
from tlpipe.backbones.folders import local_folder, pickled_state, weights_path
from tlpipe.backbones.huggingface import refuse_gaps
from tlpipe.backbones.lean import step
from tlpipe.backbones.weights import check_hash
from tlpipe.config import ConfigError
from tlpipe.data.corpus import Corpus
from tlpipe.schedule import factor
from tlpipe.train.hardware.device import Machine
from tlpipe.train.inputs.batches import RowNumbers, chunks, epoch_order
from tlpipe.train.pretraining.sentence_pairs import IGNORED, Masked, Pair, collate, pairs
from tlpipe.train.trainer.loss_scaling import LossScaling
from tlpipe.train.trainer.randomness import derive, numpy_generator, seed_device

HELD_OUT = 0.05
"""Share of the documents that are held out, at least one; what is measured is measured on them."""
WEIGHT_DECAY, WARMUP, CLIP = 0.01, 0.1, 1.0
"""As in google-research/bert, optimization.py; the optimizer here corrects its bias (Mosbach et al. 2021)."""


@dataclass(frozen=True)
class LanguageEpoch:
    """One pass over the corpus, and what the held-out documents say of it."""

    epoch: int
    step: int
    train_loss: float
    """Mean over the batches of both losses together, nats."""
    mlm_loss: float
    mlm_accuracy: float
    perplexity: float
    """exp(mlm_loss): of the hidden tokens alone."""
    nsp_loss: float
    nsp_accuracy: float
    tokens_per_second: float


@dataclass(frozen=True)
class LanguageStep:
    """One optimizer step is done."""

    done: int
    total: int


@dataclass
class Place:
    """Where a pretraining is; with the weights and the optimizer this is all that there is to know."""

    epoch: int = 0
    batch: int = 0
    steps: int = 0
    loss_sum: float = 0.0
    tokens: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


class LanguageTrainer:
    """Trains a `BertForPreTraining` on a packed corpus. `run()` yields; `state()` and `restore()` continue."""

    def __init__(self, backbone: Bert, model: nn.Module, corpus: Corpus, machine: Machine) -> None:
        self.backbone, self.corpus, self.machine, self.team = backbone, corpus, machine, machine.team
        self.model: Any = machine.place(model)
        self.objectives = _Objectives(self.model)
        self.forward = self.team.wrap(self.objectives)
        order = numpy_generator(backbone.seed, "held out").permutation(len(corpus.documents) - 1).tolist()
        held = max(2, round(HELD_OUT * len(order)))
        if len(order) < held + 2:
            raise ConfigError(f"backbone.corpus: {len(order)} documents are too few; two are held out, two train")
        self.held_out, self.documents = sorted(order[:held]), sorted(order[held:])
        self.optimizer = torch.optim.AdamW(_groups(self.model), lr=0.0, betas=(0.9, 0.999), eps=1e-6)
        self.scaling = LossScaling(machine.device, machine.dtype)
        self.at = Place()
        self.per_epoch = -(-len(self._pairs(0)) // backbone.batch_size)

    @property
    def total(self) -> int:
        """Steps of the whole training, about: epochs differ a little in their number of pairs."""
        return self.backbone.epochs * self.per_epoch

    def run(self) -> Iterator[LanguageStep | LanguageEpoch]:
        """Train from where it is to the end."""
        while self.at.epoch < self.backbone.epochs:
            chosen = self._pairs(self.at.epoch)
            batches = self._batches(chosen, ("order", self.at.epoch))
            self.model.train()
            begun = time.perf_counter() - self.at.seconds
            for rows in batches[self.at.batch :]:
                self._step([chosen[row] for row in rows])
                self.at.seconds = time.perf_counter() - begun
                yield LanguageStep(self.at.steps, self.total)
            yield self._close_epoch(len(batches))
        self.model.eval()

    def _pairs(self, epoch: int) -> list[Pair]:
        generator = numpy_generator(self.backbone.seed, "pairs", epoch)
        return pairs(self.corpus, self.documents, self.backbone.max_length - 3, generator)

    def _batches(self, chosen: Sequence[Pair], purpose: tuple[str, int]) -> list[RowNumbers]:
        """Pairs of about the same length come together, in an order of their own each epoch."""
        rows = np.arange(len(chosen))
        sizes = [sum(stop - start for start, stop in (pair.first, pair.second)) for pair in chosen]
        lengths = np.minimum(sizes, self.backbone.max_length - 3)
        generator = numpy_generator(self.backbone.seed, *purpose)
        return epoch_order(rows, rows, self.backbone.batch_size, False, generator, lengths)

    def _step(self, chosen: Sequence[Pair]) -> None:
        place = (self.backbone.seed, self.at.epoch, self.at.batch)
        seed_device(self.machine.device, "dropout", *place, *([self.team.rank] if self.team.rank else []))
        batch = self._collate(chosen, ("mask", *place))
        words = max(1, int((batch.labels != IGNORED).sum()))
        done = min(self.at.steps, self.total)  # the last epoch may have a few pairs more than the first
        rate = self.backbone.lr * factor(done, self.total, round(WARMUP * self.total), "linear")
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        masked, related = self._losses(batch.part(self.team.share(len(chosen))))
        loss = masked.sum() / words + related.sum() / len(chosen)
        self.scaling.scaled(loss * self.team.size).backward()  # a team's gradients are means over its processes
        self.scaling.step(self.model.parameters(), self._move)
        self.at.loss_sum += float(self.team.sum(loss.detach()))
        if not math.isfinite(self.at.loss_sum):
            raise ConfigError(
                f"the pretraining loss became {self.at.loss_sum} by step {self.at.steps}: lower backbone.lr "
                f"(now {self.backbone.lr:g}; a tenth is a good try)"
            )
        self.at.tokens += int(batch.tokens[:, 1].sum())
        self.at.batch += 1
        self.at.steps += 1

    def _move(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        step(self.optimizer)

    def _collate(self, chosen: Sequence[Pair], seed: tuple[int | str, ...]) -> Masked:
        masking = (self.backbone.mask_share, self.backbone.whole_words)
        return collate(self.corpus, chosen, self.backbone.max_length, masking, numpy_generator(*seed))

    def _logits(self, batch: Masked, forward: nn.Module) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(logits of the hidden tokens (M, V), their ids (M,), logits (B, 2), labels (B,)): no others are computed."""
        device = self.machine.device
        tokens, labels = (torch.from_numpy(part).to(device) for part in (batch.tokens, batch.labels))
        hidden = labels != IGNORED
        with self.machine.autocast():
            words, related = forward(tokens, hidden)
        return words.float(), labels[hidden], related.float(), torch.from_numpy(batch.unrelated).to(device)

    def _losses(self, batch: Masked) -> tuple[Tensor, Tensor]:
        words, ids, related, unrelated = self._logits(batch, self.forward)
        each = functional.cross_entropy(words, ids, reduction="none")
        return each, functional.cross_entropy(related, unrelated, reduction="none")

    def _close_epoch(self, steps: int) -> LanguageEpoch:
        speed = self.at.tokens / self.at.seconds if self.at.seconds else 0.0
        self.at.epoch += 1
        done = LanguageEpoch(
            self.at.epoch, self.at.steps, self.at.loss_sum / steps, **self.validate(), tokens_per_second=speed
        )
        self.at.history.append(asdict(done))
        self.at.batch, self.at.loss_sum, self.at.tokens, self.at.seconds = 0, 0.0, 0, 0.0
        return done

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
        """Losses (nats), accuracies and perplexity on the held-out documents; pairs and masks are always the same."""
        self.model.eval()
        generator = numpy_generator(self.backbone.seed, "held out pairs")
        chosen = pairs(self.corpus, self.held_out, self.backbone.max_length - 3, generator)
        parts = list(enumerate(chunks(np.arange(len(chosen)), self.backbone.batch_size)))
        mine = [self._figures([chosen[row] for row in rows], index) for index, rows in self.team.turns(parts)]
        found = self.team.in_turn(mine)
        means = {name: float(torch.cat([each[name] for each in found]).mean()) for name in found[0]}
        return {**means, "perplexity": math.exp(min(means["mlm_loss"], 700))}

    def _figures(self, chosen: Sequence[Pair], index: int) -> dict[str, Tensor]:
        """Losses and hits (float64, on the CPU) of each hidden token and each pair of one held-out batch."""
        batch = self._collate(chosen, (self.backbone.seed, "held out mask", index))
        words, ids, related, unrelated = self._logits(batch, self.objectives)
        found = {}
        for name, logits, labels in (("mlm", words, ids), ("nsp", related, unrelated)):
            found[f"{name}_loss"] = functional.cross_entropy(logits, labels, reduction="none").cpu().double()
            found[f"{name}_accuracy"] = (logits.argmax(1) == labels).cpu().double()
        return found

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs, as tensors and plain values."""
        weights, moments = self.model.state_dict(), self.optimizer.state_dict()
        return {"at": asdict(self.at), "model": weights, "optimizer": moments, "scaling": self.scaling.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state()` of a pretraining with the same backbone and corpus."""
        self.at = Place(**state["at"])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaling.restore(state["scaling"])


class _Objectives(nn.Module):
    """Both of BERT's objectives as one forward pass, which is what a team's gradients need."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, tokens: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, 3, L), M hidden places (B, L) bool -> logits of their words (M, V) and of the pairs (B, 2)."""
        bert, heads = self.model.bert, self.model.cls
        output = bert(input_ids=tokens[:, 0], attention_mask=tokens[:, 1], token_type_ids=tokens[:, 2])
        return heads.predictions(output.last_hidden_state[hidden]), heads.seq_relationship(output.pooler_output)


def _groups(model: nn.Module) -> list[dict[str, object]]:
    """Matrices with weight decay, biases and norms without; tied tensors once."""
    tensors = list(model.parameters())
    return [
        {"params": [each for each in tensors if (each.ndim > 1) is decays], "weight_decay": decay}
        for decays, decay in ((True, WEIGHT_DECAY), (False, 0.0))
    ]


def pretraining_model(backbone: Bert) -> nn.Module:
    """A `BertForPreTraining` with fresh weights, or those of `backbone.start`; heads that a file lacks are fresh.

    Raises ConfigError when `start` has no weights, others than its hash says, or they lack anything else.
    """
    from transformers import AutoConfig, BertForPreTraining
    from transformers.utils import logging

    logging.set_verbosity_error()
    torch.manual_seed(derive(backbone.seed, "initialise"))
    dropout = {"hidden_dropout_prob": backbone.dropout, "attention_probs_dropout_prob": backbone.dropout}
    if backbone.start is not None:
        path = weights_path(backbone.start, None)
        check_hash(path, backbone.sha256, "backbone.sha256")
        state, config = pickled_state(path), AutoConfig.for_model("bert", **(_settings(backbone) | dropout))
        source: dict[str, Any] = {"use_safetensors": True} if state is None else {"state_dict": state}
        given, found = BertForPreTraining.from_pretrained(
            str(local_folder(backbone.start) or backbone.start) if state is None else None, config=config,
            output_loading_info=True, ignore_mismatched_sizes=True, **source,
        )  # fmt: skip
        refuse_gaps(backbone.start, found, fresh=("cls.", "bert.pooler."))
        return cast(nn.Module, given.float())
    fresh: nn.Module = BertForPreTraining(AutoConfig.for_model("bert", **(_settings(backbone) | dropout)))
    return fresh


def _settings(backbone: Bert) -> dict[str, Any]:
    return {key: value for key, value in backbone.architecture().items() if key != "model_type"}

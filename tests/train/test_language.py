"""BERT's pretraining as a loop: the right loss, it learns, and a killed one ends with the same bits."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tlpipe.backbones.bert import Bert, Size
from tlpipe.config import ConfigError
from tlpipe.data.corpus import Corpus, pack_corpus, read_documents
from tlpipe.preprocess.text import TOKENIZER
from tlpipe.train.hardware.device import Machine, Runtime
from tlpipe.train.pretraining.bert import LanguageEpoch, LanguageTrainer, pretraining_model

SIZE = Size(layers=1, width=16, heads=2, vocabulary=100)
BERT = {"size": SIZE, "max_length": 24, "epochs": 2, "batch_size": 8, "lr": 3e-3}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Bert:
    return write_text(tmp_path_factory.mktemp("text"))


def write_text(folder: Path) -> Bert:
    """Forty documents of made-up words, and the BERT that is pretrained on them."""
    generator = np.random.default_rng(0)
    words = [f"{a}{b}" for a in "abcd" for b in "wxyz"]
    documents = ["\n".join(" ".join(generator.choice(words, 6)) for _ in range(4)) for _ in range(40)]
    (folder / "a.txt").write_text("\n\n".join(documents))
    return Bert(corpus=(str(folder),), **BERT)


@pytest.fixture(scope="module")
def corpus(backbone: Bert, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return pack(backbone, tmp_path_factory.mktemp("packed"))


def pack(backbone: Bert, folder: Path) -> Corpus:
    """Its tokenizer and its packed corpus, in `folder`."""
    backbone.prepare_tokenizer(folder)
    for _ in pack_corpus(read_documents(backbone.corpus), folder / TOKENIZER, folder):
        pass
    return Corpus.open(folder)


@pytest.fixture
def machine() -> Machine:
    return Runtime(device="cpu", precision="fp32", threads=1).resolve()


def make(backbone: Bert, corpus: Corpus, machine: Machine) -> LanguageTrainer:
    return LanguageTrainer(backbone, pretraining_model(backbone), corpus, machine)


def test_the_loss_is_that_of_bert_for_pretraining(backbone: Bert, corpus: Corpus, machine: Machine):
    trainer = make(backbone, corpus, machine)
    trainer.model.eval()
    batch = trainer._collate(trainer._pairs(0)[:8], ("mask", 0))
    tokens = torch.from_numpy(batch.tokens)
    with torch.no_grad():
        masked, related = trainer._losses(batch)
        expected = trainer.model(
            input_ids=tokens[:, 0],
            attention_mask=tokens[:, 1],
            token_type_ids=tokens[:, 2],
            labels=torch.from_numpy(batch.labels),
            next_sentence_label=torch.from_numpy(batch.unrelated),
        ).loss
    torch.testing.assert_close(masked.mean() + related.mean(), expected)


def test_it_learns_and_says_how_well(backbone: Bert, corpus: Corpus, machine: Machine):
    trainer = make(backbone.model_copy(update={"epochs": 12}), corpus, machine)
    epochs = [event for event in trainer.run() if isinstance(event, LanguageEpoch)]
    assert [epoch.epoch for epoch in epochs] == list(range(1, 13))
    assert epochs[-1].mlm_loss < epochs[0].mlm_loss
    assert epochs[-1].perplexity == pytest.approx(np.exp(epochs[-1].mlm_loss))
    assert epochs[-1].perplexity < len(corpus.continues)
    assert 0 <= epochs[-1].nsp_accuracy <= 1
    assert trainer.at.history == [vars(epoch) for epoch in epochs]


@pytest.mark.parametrize("after", [1, 7, 16])
def test_a_killed_pretraining_ends_with_the_same_bits(
    backbone: Bert, corpus: Corpus, machine: Machine, tmp_path: Path, after: int
):
    whole = make(backbone, corpus, machine)
    for _ in whole.run():
        pass
    killed = make(backbone, corpus, machine)
    for index, _ in enumerate(killed.run(), start=1):
        if index == after:
            torch.save(killed.state(), tmp_path / "state.pt")
            break
    again = make(backbone.model_copy(update={"seed": backbone.seed}), corpus, machine)
    again.restore(torch.load(tmp_path / "state.pt", weights_only=True))
    torch.rand(7)  # whatever else draws random numbers changes nothing
    for _ in again.run():
        pass
    assert again.at.steps == whole.at.steps
    for (name, value), other in zip(whole.model.state_dict().items(), again.model.state_dict().values(), strict=True):
        assert torch.equal(value, other), name


def test_pretraining_goes_on_from_given_weights(backbone: Bert, corpus: Corpus, machine: Machine, tmp_path: Path):
    model = pretraining_model(backbone)
    model.save_pretrained(tmp_path)
    backbone.prepare_tokenizer(tmp_path)
    given = Bert(corpus=backbone.corpus, start=str(tmp_path), max_length=24, epochs=1, batch_size=8)
    assert given.preprocess() == backbone.preprocess()
    assert given.resolved().config["num_hidden_layers"] == 1
    again = pretraining_model(given)
    assert torch.equal(again.bert.embeddings.word_embeddings.weight, model.bert.embeddings.word_embeddings.weight)
    assert torch.equal(again.cls.seq_relationship.weight, model.cls.seq_relationship.weight)
    (tmp_path / "config.json").write_text('{"model_type": "electra"}')
    with pytest.raises(ConfigError, match="pretraining knows bert only"):
        given.preprocess()


@pytest.fixture
def given(backbone: Bert, tmp_path: Path) -> Bert:
    """One whose weights are in a folder."""
    pretraining_model(backbone).save_pretrained(tmp_path)
    backbone.prepare_tokenizer(tmp_path)
    return Bert(corpus=backbone.corpus, start=str(tmp_path), max_length=24)


def test_weights_that_lack_a_layer_are_refused_by_name(given: Bert):
    file = Path(str(given.start)) / "model.safetensors"
    whole = load_file(file)
    for absent in ("cls.", "bert.pooler."):
        save_file({name: value for name, value in whole.items() if not name.startswith(absent)}, file, {"format": "pt"})
        pretraining_model(given)
    layer = {name: value for name, value in whole.items() if "layer.0" not in name}
    bias = "bert.encoder.layer.0.output.dense.bias"
    for state, wrong in ((layer, r"layer\.0.* more"), ({**whole, bias: torch.zeros(3)}, r"file \(3,\), model \(16,\)")):
        save_file(state, file, {"format": "pt"})
        with pytest.raises(ConfigError, match=rf"lack, or have in another shape: bert\.encoder\.layer\.0.*{wrong}"):
            pretraining_model(given)


def test_a_start_without_safetensors_is_a_sentence(given: Bert):
    (Path(str(given.start)) / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"has no model\.safetensors.*save_pretrained"):
        pretraining_model(given)


def test_dropout_is_what_it_is_told_while_pretraining_and_bert_s_own_afterwards(
    backbone: Bert, corpus: Corpus, machine: Machine, tmp_path: Path
):
    still = backbone.model_copy(update={"dropout": 0.0})
    for spec, expected in ((backbone, 0.1), (still, 0.0)):
        pretraining_model(spec).save_pretrained(tmp_path / str(expected))
        given = spec.model_copy(update={"size": None, "start": str(tmp_path / "0.1")})
        for each in (spec, given):
            model = pretraining_model(each)
            drops = {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)}
            assert drops == {expected}
        assert {m.p for m in spec.encoder().modules() if isinstance(m, torch.nn.Dropout)} == {0.1}


def test_either_a_size_or_a_start(backbone: Bert):
    for both in ({}, {"size": SIZE, "start": "x"}):
        with pytest.raises(ValueError, match="either `size`"):
            Bert(corpus=("x",), **both)


def test_a_loss_that_is_no_number_is_refused(backbone: Bert, corpus: Corpus, machine: Machine):
    trainer = make(backbone, corpus, machine)
    with torch.no_grad():
        trainer.model.bert.embeddings.word_embeddings.weight[5:] = float("nan")
    with pytest.raises(ConfigError, match=r"lower backbone\.lr"):
        next(trainer.run())

"""`tlpipe backbones` lists what is on this machine, each with the section that takes it."""

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from tests.backbones.test_text import SIZES
from tlpipe.backbones import AnyBackbone, offers
from tlpipe.config import parse
from tlpipe.data.corpus import train_wordpiece
from tlpipe.project.backbones import Row, rows, table


def publish(folder: Path) -> None:
    torch.manual_seed(0)
    BertModel(BertConfig(**SIZES)).save_pretrained(folder)
    train_wordpiece(["a b c"], 60, True, folder / "tokenizer.json")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Row]:
    """With a package, a folder of the project's own, both hubs' caches, and no network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HOME", raising=False)
    monkeypatch.delenv("TORCH_HOME", raising=False)
    monkeypatch.setattr(offers, "reachable", lambda host: False)
    monkeypatch.setattr(offers, "LEAST", 1)
    publish(tmp_path / "site/words")
    (tmp_path / "site/efficientnet-lite0-57934424.pth").write_bytes(b"x")
    info = tmp_path / "site/some_weights-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-weights\nVersion: 1\nLicense: BSD\n")
    names = ("words/model.safetensors", "words/config.json", "words/tokenizer.json", "efficientnet-lite0-57934424.pth")
    (info / "RECORD").write_text("".join(f"{name},sha256=a,9\n" for name in (*names, "../../out.pth")))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(offers, "distributions", lambda: list(offers.Distribution.discover(name="some-weights")))
    publish(tmp_path / "models/pretrained/mine")
    (tmp_path / "models/pretrained/mystery.pth").write_bytes(b"x")
    publish(tmp_path / "cache/huggingface/hub/models--someone--bert/snapshots/1")
    (tmp_path / "cache/torch/hub/checkpoints").mkdir(parents=True)
    (tmp_path / "cache/torch/hub/checkpoints/mobilenet_v2-7ebf99e0.pth").write_bytes(b"x")
    return {row.name: row for row in rows(tmp_path, measure=False)}


def test_everything_on_the_machine_is_listed_with_a_section_that_takes_it(listed: dict[str, Row]) -> None:
    named = {name: row.section and row.section.get("name", row.section.get("path")) for name, row in listed.items()}
    assert named == {
        "some-weights/words": "package:some-weights/words",
        "efficientnet-lite0-57934424.pth": "package:some-weights/efficientnet-lite0-57934424.pth",
        "models/pretrained/mine": "models/pretrained/mine",
        "mystery.pth": None,
        "mobilenet_v2.IMAGENET1K_V2": "mobilenet_v2",
        "someone/bert": "someone/bert",
    }
    assert all(parse(dict(row.section), AnyBackbone, "") for row in listed.values() if row.section)
    assert (listed["some-weights/words"].licence, listed["some-weights/words"].source) == (
        "mit (model card)",
        "package some-weights 1",
    )
    lite = listed["efficientnet-lite0-57934424.pth"]
    assert (lite.parameters, lite.input, lite.licence) == (3_371_008, "224 px", "BSD (package)")
    assert "no architecture is known" in listed["mystery.pth"].problem


def test_a_table_for_people(listed: dict[str, Row]) -> None:
    text = table(list(listed.values()))
    assert "3,371,008" in text
    assert '"library": "timm"' in text
    assert "pip install 'tlpipe[demo]'" in table([])


def test_a_forward_pass_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path / "mine")
    section = {"kind": "huggingface", "name": str(tmp_path / "mine"), "max_length": 30}
    offer = offers.Offer("text", "a folder", section, "mine")
    monkeypatch.setattr("tlpipe.project.backbones.offers", lambda root, network: iter([offer]))
    (row,) = rows(tmp_path)
    assert row.milliseconds is not None
    assert 0 < row.milliseconds < 1000

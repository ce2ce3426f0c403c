"""`tlpipe init`: it sees what the data are, and writes a project that passes its own check."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.project.conftest import Make, images, texts
from tlpipe.config import ConfigError, read
from tlpipe.params import load_params
from tlpipe.project import choices
from tlpipe.project.init import init
from tlpipe.project.pipeline import pipeline
from tlpipe.project.recipes import recipe, recipes, sections
from tlpipe.project.survey import survey

TABLES = {"train": "train.csv", "validation": "dev.csv", "test": "test.csv"}
KINDS = {
    "images": ("image_classification", {"kind": "image_folder", "splits": None}),
    "split images": ("image_classification", {"kind": "image_folder", "splits": None}),
    "texts": ("text_classification", {"kind": "text_table", "table": "films.csv", "group_column": "author"}),
    "split texts": ("text_classification", {"splits": TABLES}),
    "image table": (
        "image_classification",
        {"kind": "image_table", "table": "labels.csv", "image_column": "file", "label_column": "species",
         "group_column": "patient"},
    ),
    "words": ("token_classification", {"kind": "conll", "splits": {"train": "train.conll", "test": "test.conll"}}),
    "questions": ("question_answering", {"kind": "squad", "file": "questions.json"}),
}  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No repositories, which take a second each, and no network."""
    monkeypatch.setattr("tlpipe.project.init._begin", lambda folder, scm: [])
    monkeypatch.setattr(choices, "reachable", lambda host: False)
    monkeypatch.setattr(choices, "installed", lambda name: False)
    monkeypatch.setattr(choices, "CACHED", dict.fromkeys(choices.CACHED, lambda name: False))


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_writes_for_data_is_valid_and_says_where_they_are(kind: str, data: Make, tmp_path: Path) -> None:
    task, source = KINDS[kind]
    done = init(tmp_path / "project", data(kind))
    params = read(tmp_path / "project/params.yaml")
    assert params["task"]["kind"] == task
    assert source.items() <= params["data"]["source"].items()
    assert params["data"]["source"]["path"] == str(tmp_path / "data of mine")
    assert load_params(tmp_path / "project/params.yaml").task.kind == task
    assert (tmp_path / "project/dvc.yaml").read_text() == pipeline(params)
    assert len(done.seen) >= 2
    assert len(done.chosen) == 3


def test_short_sentences_leave_windows_room_for_their_stride(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name, count in (("train", 12), ("dev", 6), ("test", 6)):
        text = "\n\n".join(f"Anna{number}{name} B-PER\nlives O" for number in range(count))
        (tmp_path / "data" / f"{name}.conll").write_text(text + "\n")
    init(tmp_path / "project", tmp_path / "data", scm=False)
    params = load_params(tmp_path / "project/params.yaml")
    assert params.task.preprocess(params.backbone.preprocess()).max_length == 64


def test_splits_of_the_datas_own_are_kept(data: Make, tmp_path: Path) -> None:
    init(tmp_path / "project", data("split images"))
    split = read(tmp_path / "project/params.yaml")["data"]["split"]
    assert (split["folds"], split["validation"], split["test"]) == (None, None, 0.2)


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        ("torchvision:resnet18", {"kind": "torchvision", "name": "resnet18", "weights": "DEFAULT", "size": 96}),
        ("timm:resnet18", {"kind": "timm", "name": "resnet18", "size": 96}),
    ],
)
def test_a_backbone_can_be_named(backbone: str, expected: dict[str, Any], data: Make, tmp_path: Path) -> None:
    init(tmp_path / "project", data("images"), backbone=backbone)
    assert read(tmp_path / "project/params.yaml")["backbone"] == expected


def test_published_weights_are_taken_where_they_can_be_had(
    data: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "reachable", lambda host: host == "huggingface.co")
    init(tmp_path / "project", data("texts"))
    params = read(tmp_path / "project/params.yaml")
    assert params["backbone"]["kind"] == "huggingface"
    assert params["finetune"]["all_layers"]["lr"] == 2e-5
    assert "tokenizer" in (tmp_path / "project/dvc.yaml").read_text()


@pytest.mark.parametrize(
    ("kind", "expected", "lr"),
    [
        ("images", {"kind": "checkpoint", "path": choices.LITE0, "rename": "by_order"}, "auto"),
        ("texts", {"kind": "huggingface", "name": choices.MINILM, "pooling": "auto"}, 1e-4),
        ("words", {"kind": "huggingface", "name": choices.MINILM, "pooling": "none"}, 5e-4),
    ],
)
def test_weights_in_an_installed_package_come_first(
    kind: str, expected: dict[str, Any], lr: object, data: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "installed", lambda name: True)
    done = init(tmp_path / "project", data(kind))
    params = read(tmp_path / "project/params.yaml")
    assert expected.items() <= params["backbone"].items()
    assert params["finetune"]["all_layers"]["lr"] == lr
    assert any("installed package" in line for line in done.chosen)


def test_few_labels_leave_out_what_needs_many(tmp_path: Path) -> None:
    images(tmp_path / "few", "a", "b", count=4)
    init(tmp_path / "project", tmp_path / "few", backbone="letters")
    assert read(tmp_path / "project/params.yaml")["strategies"] == ["head_only", "top_layers", "all_layers"]


@pytest.mark.parametrize("backbone", ["letters", "torchvision:resnet18", "timm:resnet18"])
@pytest.mark.parametrize("count", [4, 12])
def test_every_strategy_that_is_chosen_has_a_section(tmp_path: Path, backbone: str, count: int) -> None:
    images(tmp_path / "photos", "a", "b", count=count)
    init(tmp_path / "project", tmp_path / "photos", backbone=backbone)
    params = read(tmp_path / "project/params.yaml")
    assert set(params["strategies"]) <= params["finetune"].keys()
    assert ("scratch" in params["strategies"]) == (backbone == "letters" and count == 12)


def test_data_in_the_project_are_named_from_there(tmp_path: Path) -> None:
    images(tmp_path / "project/data/mine", "a", "b")
    init(tmp_path / "project", tmp_path / "project/data/mine")
    assert read(tmp_path / "project/params.yaml")["data"]["source"]["path"] == "data/mine"


def test_nothing_is_overwritten_and_files_that_are_there_are_added_to(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("mine\n/mlruns/")
    (tmp_path / "README.md").write_text("mine")
    init(tmp_path)
    assert (tmp_path / ".gitignore").read_text().startswith("mine\n/mlruns/\n# what")
    assert (tmp_path / ".gitignore").read_text().count("/mlruns/") == 1
    assert (tmp_path / "README.md").read_text() == "mine"
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match=r"has params.yaml and dvc.yaml already"):
        init(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "holds nothing; allowed"),
        (["a.docx"], "holds a.docx; allowed"),
        (["a.csv", "b.csv"], "none of which is named like a train split"),
    ],
)
def test_what_cannot_be_read_is_refused_and_nothing_is_written(files: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for name in files:
        (tmp_path / "there" / name).write_text("text,label\na,b\n")
    with pytest.raises(ConfigError, match=message):
        init(tmp_path / "project", tmp_path / "there")
    assert not (tmp_path / "project").exists()


def test_columns_that_are_not_there_are_named(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there/a.csv").write_text("words,number\na,1\n")
    with pytest.raises(ConfigError, match="none is called like a label"):
        survey(tmp_path / "there", "there")


def test_data_around_the_project_are_refused(tmp_path: Path) -> None:
    texts(tmp_path / "films.csv")
    with pytest.raises(ConfigError, match="holds the project's folder"):
        init(tmp_path / "project", tmp_path / "films.csv")


@pytest.mark.parametrize("name", recipes())
def test_recipes_are_whole_and_are_what_init_copies(name: str) -> None:
    text = recipe(name)
    assert "yaml-language-server" not in text
    assert {"task", "data", "backbone", "strategies", "finetune", "tracking"} <= set(sections(text))


def test_git_and_dvc_are_begun_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    commands: list[str] = []

    def note(command: list[str], folder: Path) -> None:
        commands.append(" ".join(command[command.index("init") - 1 :]))
        (folder / (".git" if command[0] == "git" else ".dvc")).mkdir()

    monkeypatch.setattr("tlpipe.project.init._run", note)
    outer, bare = tmp_path / "outer", tmp_path / "bare"
    init(outer)
    init(outer / "inner")
    init(bare, scm=False)
    (tmp_path / "git").mkdir()
    subprocess.run(["git", "init", "-q"], cwd=tmp_path / "git", check=True)
    init(tmp_path / "git/deep/project")
    assert commands == ["git init -q", "dvc init -q", "dvc init -q --no-scm", "dvc init -q --subdir"]
    assert "no_scm = True" in (bare / ".dvc/config").read_text()
    assert "no_scm" not in (outer / ".dvc/config").read_text()

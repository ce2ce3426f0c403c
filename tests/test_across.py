"""Sections that do not go together are refused, with what would."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from tlpipe.across import across
from tlpipe.backbones.letters import Letters
from tlpipe.config import ConfigError, read
from tlpipe.params import readable
from tlpipe.strategies.base import Strategy
from tlpipe.strategies.plan import HEAD, Phase, Plan, assign
from tlpipe.strategies.tfidf import TfIdf
from tlpipe.tasks.base import Task
from tlpipe.tasks.text_classification.spec import TextClassification

SHIPPED = read(Path(__file__).resolve().parents[1] / "params.yaml")
LAYERS = next(name for name, entry in SHIPPED["finetune"].items() if entry["kind"] == "top_layers")


class TextTask(Task):
    """A task that no image backbone can serve."""

    modality: ClassVar[Literal["image", "text"]] = "text"
    form: ClassVar[str] = "text"
    kind: Literal["text_classification"] = "text_classification"


class Patterns(Strategy):
    """A strategy whose pattern matches no layer of the offline default."""

    def plan(self, groups: Sequence[str]) -> Plan:
        rates = assign([*groups, HEAD], [("block*", 1e-3), ("*", None)])
        return Plan(strategy="x", start="head", groups=tuple(groups), phases=(Phase(name="x", epochs=1, rates=rates),))


def test_a_text_task_on_an_image_backbone_is_refused():
    sections = {**readable(SHIPPED), "task": TextTask(), "backbone": Letters()}
    text = "\n".join(across(SHIPPED, sections))
    for part in ("a task on texts", "a backbone for images", "task text_classification, backbone letters", "do:  "):
        assert part in text


def test_a_text_task_on_a_source_of_images_or_with_augmentation_is_refused():
    sections = {**readable(SHIPPED), "task": TextClassification()}
    noisy = sections["training"].cache.model_copy(update={"noise": 0.1})
    sections["training"] = sections["training"].model_copy(update={"cache": noisy})
    text = "\n".join(across(SHIPPED, sections))
    for part in (
        "a task on texts cannot learn from images",
        "training.augment: changes nothing: texts are always seen as they are",
        "training.cache.noise: cannot be added",
    ):
        assert part in text


def test_a_pattern_that_matches_no_layer_is_refused_with_the_layers_that_there_are():
    sections = {**readable(SHIPPED), "backbone": Letters()}
    text = "\n".join(across(SHIPPED, {**sections, "finetune": {**sections["finetune"], LAYERS: Patterns()}}))
    for part in (f"finetune.{LAYERS}: ", "'block*'", "matches no layer", "stem", "stage4"):
        assert part in text


def test_a_backbone_that_cannot_be_built_is_a_problem_of_its_own():
    class Broken(Letters):
        def encoder(self) -> Any:
            raise ConfigError("no model named x")

    assert "backbone: no model named x" in "\n".join(across(SHIPPED, {**readable(SHIPPED), "backbone": Broken()}))


def test_tf_idf_goes_with_texts_of_one_label_and_not_alone():
    tfidf = TfIdf(kind="tfidf")
    sections = readable(SHIPPED)
    text = "\n".join(across(SHIPPED, {**sections, "finetune": {**sections["finetune"], "words": tfidf}}))
    for part in ("finetune.words: is for texts with one label each", "task image_classification", "do:      remove it"):
        assert part in text
    text = "\n".join(across(SHIPPED, {**sections, "task": TextClassification(), "finetune": {"words": tfidf}}))
    for part in ("no strategy that starts from the backbone", "add head_only"):
        assert part in text

"""Answers of classifiers in serving: a label with its probability, and the most probable others."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, create_model

from tlpipe.bundle import Bundle
from tlpipe.serve.reading import Answer, Probability, Row, Sample


class Label(BaseModel):
    """A class with its probability."""

    label: str
    probability: Probability


class LabelAnswer(Label):
    """The most probable class, and the `top` most probable ones."""

    top: list[Label]


class Labels:
    """The answers of a classifier."""

    def __init__(self, bundle: Bundle) -> None:
        self.labels = bundle.labels

    def answer(self, sample: Sample, outputs: Sequence[Row], top: int = 5) -> Answer:
        """The label, its probability, and the `top` most probable ones."""
        probabilities = outputs[0]["probabilities"]
        order = np.argsort(-probabilities, kind="stable")[: max(top, 1)]
        best = [{"label": self.labels[i], "probability": round(float(probabilities[i]), 6)} for i in order]
        return {**best[0], "top": best[:top]}

    def answer_model(self) -> type[BaseModel]:
        """`LabelAnswer` with the bundle's labels."""
        names: Any = Literal[self.labels]
        label = create_model("Label", __base__=Label, label=(names, ...))
        return create_model("LabelAnswer", __base__=LabelAnswer, label=(names, ...), top=(list[label], ...))  # type: ignore[valid-type]

    def columns(self, every: bool = False) -> tuple[str, ...]:
        """`label`, `probability`, and with `every` one column a class."""
        return "label", "probability", *(f"p_{label}" for label in self.labels if every)

    def cells(self, answer: Answer) -> Sequence[Any]:
        """The label, its probability, and what other labels the answer has in the order of the classes."""
        known = {each["label"]: each["probability"] for each in answer["top"]}
        others = [known[label] for label in self.labels] if len(known) == len(self.labels) else []
        return [answer["label"], answer["probability"], *others]

"""Error section of question answering in the report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlpipe.evaluate.answers import AnswerPredictions
from tlpipe.evaluate.figures import reliability_figure
from tlpipe.report.errors import Errors, data_uri, rows
from tlpipe.report.figures import VARIABLES, inline_svg

NOTE = (
    "A sample is a question. Exact match and F1 are those of SQuAD's official scripts: lower case, without punctuation "
    "and articles, the best of several right answers. Questions without an answer score 1 when none is given."
)


def answer_errors(root: Path, champion: str, said: Mapping[str, AnswerPredictions]) -> dict[str, Any]:
    """Of answers: what became of the questions, the worst mistakes, and whether an answer was seen at all."""
    test, folder = said[champion], root / "reports/evaluation" / champion
    return {
        "total": test.size,
        "wrong": int((test.scored.exact < 1).sum()),
        "outcomes": [{"name": name, **outcomes(each)} for name, each in said.items()],
        "kinds": rows(folder / "per_class.csv"),
        "mistakes_png": data_uri(folder / "mistakes.png"),
        "strategies": [
            {"name": name, "reliability": inline_svg(reliability_figure(each, VARIABLES), f"reliability of {name}")}
            for name, each in said.items()
        ],
    }


def outcomes(test: AnswerPredictions) -> dict[str, int]:
    """Questions by what was said to them."""
    none, exact, partly = test.predicted == 1, test.scored.exact == 1, test.scored.f1 > 0
    has = test.scored.answered
    return {
        "exact": int((has & ~none & exact).sum()),
        "partly": int((has & ~none & ~exact & partly).sum()),
        "other": int((has & ~none & ~partly).sum()),
        "missed": int((has & none).sum()),
        "rightly_none": int((~has & none).sum()),
        "invented": int((~has & ~none).sum()),
    }


ERRORS = Errors("question_answering/report.html.j2", answer_errors, NOTE)

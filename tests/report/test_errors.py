"""The errors sections of tasks on tokens: words are confused, entities and answers are counted."""

from pathlib import Path

import numpy as np
import pytest

from tests.asked import pack_asked
from tests.tagged import LABELS, pack_tagged
from tlpipe.answer_metrics import THRESHOLD
from tlpipe.evaluate.answers import AnswerPredictions
from tlpipe.evaluate.spec import Evaluate
from tlpipe.evaluate.tables import EVALUATED, write_tables
from tlpipe.evaluate.tags import TagPredictions
from tlpipe.preprocess.questions import END, START
from tlpipe.tasks import facet, kinds


def test_words_are_confused_and_entities_counted(tmp_path: Path) -> None:
    packed, parts = pack_tagged(tmp_path, train=9, validation=4, test=6), {}
    for split in EVALUATED:
        first, last = packed.targets.range(*packed.ranges[split])
        parts[split] = np.full((last - first, len(LABELS)), 0.2)
        parts[split][:, LABELS.index("O")] += 0.1
        parts[split][::2] = np.eye(len(LABELS))[packed.targets.marks[first:last:2]]
    said = TagPredictions.assemble(packed, parts)
    folder = tmp_path / "reports/evaluation/mine"
    folder.mkdir(parents=True)
    write_tables(folder, [said], Evaluate(resamples=100))
    test = said.of("test")
    facet("token_classification", "figures:write_figures")(folder, test, packed, Evaluate(resamples=100))
    errors = facet("token_classification", "report:ERRORS")
    found = errors.facts(tmp_path, "mine", {"mine": test})
    assert found["total"] == len(test.labels)
    assert found["mistakes"] == sum(pair["samples"] for pair in found["confusions"]) > 0
    assert {pair["predicted"] for pair in found["confusions"]} == {"O"}
    assert sorted(row["class"] for row in found["per_class"]) == ["per", "place"]
    support = sum(int(row["support"]) for row in found["per_class"])
    assert support == sum(LABELS[tag].startswith("B-") for tag in test.labels)
    assert (found["unit"], found["per"]) == ("words", "type of entity")
    assert "seqeval" in errors.note


def test_answers_are_counted_by_what_was_said(tmp_path: Path) -> None:
    packed = pack_asked(tmp_path)
    scores = {}
    for split in EVALUATED:
        first, last = packed.targets.range(*packed.ranges[split])
        labels = packed.targets.marks[first:last]
        scores[split] = np.stack([(labels & bit) > 0 for bit in (START, END)], axis=1) * 9.0
    folder = tmp_path / "reports/evaluation/mine"
    folder.mkdir(parents=True)
    spec, always = Evaluate(resamples=100), AnswerPredictions.assemble(packed, scores)
    right = AnswerPredictions.assemble(packed, scores, {THRESHOLD: 1.0})
    assert right.measure()["f1"] > always.measure()["f1"]
    write_tables(folder, [right], spec)
    facet("question_answering", "figures:write_figures")(folder, right.of("test"), packed, spec)
    errors = facet("question_answering", "report:ERRORS")
    found = errors.facts(tmp_path, "mine", {"mine": right.of("test"), "always": always.of("test")})
    first, second = found["outcomes"]
    assert first["invented"] == second["missed"] == second["rightly_none"] == 0
    assert first["rightly_none"] == second["invented"] > 0
    for each in found["outcomes"]:
        assert sum(value for key, value in each.items() if key != "name") == found["total"] == right.of("test").size
    assert found["wrong"] == first["partly"] + first["other"] + first["missed"]
    assert [row["class"] for row in found["kinds"]] == ["answered", "unanswered"]


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_has_a_template(kind: str) -> None:
    folder, name = Path(__file__).parents[2] / "tlpipe", facet(kind, "report:ERRORS").template
    template = (folder / ("tasks" if "/" in name else "report") / name).read_text()
    assert '<section id="errors">' in template

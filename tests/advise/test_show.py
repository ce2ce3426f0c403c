"""What a person reads of the advice."""

from collections.abc import Callable
from dataclasses import replace

from tests.advise.conftest import GROUPS, measured
from tlpipe.advise.advice import advise
from tlpipe.advise.cost import Clock
from tlpipe.advise.evidence import Evidence
from tlpipe.advise.experience import Experience
from tlpipe.advise.show import facts, lines
from tlpipe.strategies.head_only import HeadOnly


def test_the_evidence_is_one_line(make_evidence: Callable[..., Evidence]) -> None:
    found = make_evidence(last=0.6, every=0.7, random=0.3, samples=200)
    assert "; ".join(facts(found)) == (
        "all-depth gap +10.0%; pretrained minus random +40.0%; input shift 0.50 standard deviations; "
        "50 parameters a sample"
    )
    assert "linearised fine-tuning 65.0%" in list(facts(replace(found, linearised=measured(0.65))))
    assert not any("shift" in each for each in facts(replace(found, shift=None)))


def test_the_measured_cells_are_a_range(make_evidence: Callable[..., Evidence], experience: Experience) -> None:
    rules = {**experience.rules, "head_only": experience.rules["head_only"].model_copy(update={"cells": 49})}
    known = experience.model_copy(update={"rules": rules})
    clock = Clock(0.01, {0: 0.0, 1: 0.2, 2: 0.5, 3: 1.0})
    advice = advise({"head": HeadOnly(kind="head_only")}, GROUPS, make_evidence(), known, clock, 4)
    said = list(lines(advice))
    assert any("rest on 9 to 49 measured cells" in each for each in said)
    assert any(each.startswith("evidence: all-depth gap") for each in said)
    assert advice.summary()["experience"]["most_cells"] == 49

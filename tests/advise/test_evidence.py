"""The evidence on a small world whose answers are known."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tests.advise.conftest import small_encoder
from tlpipe.advise.evidence import LIMIT, Evidence, chosen, gather, subject
from tlpipe.advise.marks import of_samples
from tlpipe.advise.passes import look
from tlpipe.advise.probe import cross_validate
from tlpipe.data.packed import Packed
from tlpipe.train.hardware.device import Machine


def test_everything_is_measured_and_the_same_every_time(packed: Packed, machine: Machine) -> None:
    seen = subject(packed, 75, 30, seed=0)
    encoder, control = small_encoder(0), small_encoder(1)
    features = look(encoder, packed, seen.rows, machine).depths
    found = gather(features, encoder, control, packed, seen, machine, seed=0, directions=1)
    again = gather(features, encoder, control, packed, seen, machine, seed=0, directions=1)
    first, second = (json.dumps(each.summary(), sort_keys=True) for each in (found, again))
    assert first == second
    assert (found.samples, found.classes, found.probed) == (75, 3, 75)
    assert found.parameters == sum(parameter.numel() for parameter in encoder.parameters())
    assert list(found.depths) == ["stem", "middle", "top"]
    for group, each in found.depths.items():
        assert each == cross_validate([features[group]], of_samples(packed.labels[:75], 3), seed=0)
    assert found.linearised is not None
    assert found.forward > 0
    assert gather(features, encoder, control, packed, seen, machine, 0, 0).linearised is None


def test_the_test_split_is_never_looked_at(packed: Packed, machine: Machine) -> None:
    seen, encoder = subject(packed, 75, 30, 0), small_encoder(0)
    features = look(encoder, packed, seen.rows, machine).depths
    before = gather(features, encoder, small_encoder(1), packed, seen, machine, 0, 1).summary()
    images, labels = np.array(packed.samples), packed.labels.copy()
    images[75:], labels[75:] = 0, 0
    other = replace(packed, samples=images, labels=labels)
    unseen = subject(other, 75, 30, 0)
    assert unseen.rows.tolist() == seen.rows.tolist() == list(range(75))
    assert gather(features, encoder, small_encoder(1), other, unseen, machine, 0, 1).summary() == before


def test_gaps_by_hand(make_evidence: Callable[..., Evidence]) -> None:
    found = make_evidence(last=0.6, every=0.8, random=0.5, samples=100)
    assert abs(found.depth_gap - 0.2) < 1e-9
    assert abs(found.fit - 0.6) < 1e-9
    assert found.per_class == 20


def test_large_data_is_drawn_from_evenly() -> None:
    labels = np.repeat([0, 1, 2], [3000, 900, 100])
    rows = chosen(labels, np.ones(4000), 0, seed=0)
    assert len(rows) == LIMIT == len(np.unique(rows))
    assert np.abs(np.bincount(labels[rows]) - np.array([750, 225, 25])).max() <= 1
    assert chosen(labels[:500], np.ones(500), 0, seed=0).tolist() == list(range(500))

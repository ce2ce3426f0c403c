"""What a strategy has to beat: methods that need no pretrained network, on the same splits."""

from collections.abc import Callable, Mapping
from typing import Any

from tlpipe.data.packed import Packed
from tlpipe.evaluate.judged import Judged, intervals
from tlpipe.tasks import facet

Method = Callable[[Packed], Judged]


def baselines(packed: Packed, resamples: int, seed: int) -> dict[str, Any]:
    """{name: {"validation": {metric: value}, "test": {metric: {"value", "low", "high"}}}}, empty where there are none.

    "validation" is of the labelled samples that the method had not seen: the validation split, or all out of fold.
    """
    found: dict[str, Any] = {}
    methods: Mapping[str, Method] = facet(packed.task, "evaluation:BASELINES")
    for name, method in methods.items():
        judged = method(packed)
        unseen = judged.take([index for index, split in enumerate(judged.splits) if split != "test"])
        around = intervals([judged.of("test")], resamples, seed)
        found[name] = {
            "validation": unseen.measure(),
            "test": {metric: interval._asdict() for metric, interval in around.items()},
        }
    return found

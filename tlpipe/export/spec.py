"""What the exported file must be, and how close to the trained model it must stay."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from tlpipe.config import Spec

WIDEST, WIDEST_NETWORK, LEAST_AGREEMENT = 0.1, 1e-3, 0.98
"""Of a closed gate: looser settings are said in the bundle and in the report."""


class Export(Spec):
    """The bundle and the gate that it must pass; a bundle that fails is not written."""

    opset: Annotated[int, Field(ge=20, le=23)] = 20
    """ONNX operator set; a higher one needs a newer onnxruntime where the bundle is deployed."""
    samples: Annotated[int, Field(ge=1, le=100_000)] = 32
    """Test samples, spread evenly over the split, that the gate compares; all of them when there are fewer."""
    batch: Annotated[int, Field(ge=2, le=256)] = 8
    """Images a call in the gate's batched half; the other half is one at a time."""
    tolerance: Annotated[float, Field(gt=0, le=0.25)] = 0.1
    """Largest difference of a probability from the raw image on, where onnxruntime's resize may be one grey level off
    in a few percent of the pixels (0.046 was seen for an ImageNet MobileNetV2 on 64 photographs). With more than 0.25
    two models that agree on nothing could pass; above 0.1 the bundle and the report say that the gate was open."""
    network_tolerance: Annotated[float, Field(gt=0, le=0.01)] = 1e-4
    """Largest difference of a probability, and of a logit relative to the largest one, where nothing is resized; above
    0.001 the bundle and the report say that the gate was open."""
    golden: Annotated[int, Field(ge=0, le=64)] = 8
    """Raw test samples that travel in the bundle with what torch says of them: a server answers for them before it
    serves. 0 = none, for data that must not leave; then nothing is proved where it is served."""
    agreement: Annotated[float, Field(ge=0.9, le=1)] = 1.0
    """Least share of samples with the same first label; another label that torch puts within the tolerance counts.
    Below 0.9 the gate would compare nothing; below 0.98 the bundle and the report say that it was open."""

    def openings(self) -> Iterator[str]:
        """Where this gate lets more pass than a sound export needs, a sentence each; nothing where it is closed."""
        if self.tolerance > WIDEST:
            yield f"export.tolerance is {self.tolerance:g}, and up to {WIDEST:g} is what resizing explains"
        if self.network_tolerance > WIDEST_NETWORK:
            yield f"export.network_tolerance is {self.network_tolerance:g}, and up to {WIDEST_NETWORK:g} is rounding"
        if self.agreement < LEAST_AGREEMENT:
            yield f"export.agreement is {self.agreement:g}, and below {LEAST_AGREEMENT:g} labels change"

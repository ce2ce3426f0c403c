"""What the exported file must be, and how close to the trained model it must stay."""

from typing import Annotated

from pydantic import Field

from tlpipe.config import Spec


class Export(Spec):
    """The bundle and the gate that it must pass; a bundle that fails is not written."""

    opset: Annotated[int, Field(ge=20, le=23)] = 20
    """ONNX operator set; a higher one needs a newer onnxruntime where the bundle is deployed."""
    samples: Annotated[int, Field(ge=1)] = 32
    """Test samples, spread evenly over the split, that the gate compares; all of them when there are fewer."""
    batch: Annotated[int, Field(ge=2, le=256)] = 8
    """Images a call in the gate's batched half; the other half is one at a time."""
    tolerance: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    """Largest difference of a probability from the raw image on, where onnxruntime's resize may be one grey level off
    in a few percent of the pixels (0.046 was seen for an ImageNet MobileNetV2 on 64 photographs)."""
    network_tolerance: Annotated[float, Field(gt=0, le=0.1)] = 1e-4
    """Largest difference of a probability, and of a logit relative to the largest one, where nothing is resized."""
    golden: Annotated[int, Field(ge=0, le=64)] = 8
    """Raw test samples that travel in the bundle with what torch says of them: a server answers for them before it
    serves. 0 = none, for data that must not leave; then nothing is proved where it is served."""
    agreement: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Least share of samples with the same first label; another label that torch puts within the tolerance counts."""

"""Labels with probabilities for image files: python predict.py models/bundle/model.onnx photo.jpg ..."""

import json
import sys
from pathlib import Path

import onnxruntime

from tlpipe.preprocess.decode import decode  # one file, needs numpy and Pillow alone

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
limits, labels = (json.loads(session.get_modelmeta().custom_metadata_map[key]) for key in ("limits", "labels"))
for path in sys.argv[2:]:
    (probabilities,) = session.run(["probabilities"], {"image": decode(Path(path).read_bytes(), **limits)[None]})
    print(path, *(f"{labels[i]} {probabilities[0, i]:.4f}" for i in probabilities[0].argsort()[::-1][:5]))  # noqa: T201

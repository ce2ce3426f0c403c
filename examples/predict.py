"""Labels with probabilities for image files: python predict.py models/bundle/model.onnx photo.jpg ..."""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
labels = json.loads(session.get_modelmeta().custom_metadata_map["labels"])
for path in sys.argv[2:]:
    image = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    (probabilities,) = session.run(["probabilities"], {"image": image[None]})
    print(path, *(f"{labels[i]} {probabilities[0, i]:.4f}" for i in probabilities[0].argsort()[::-1][:5]))  # noqa: T201

"""Triton's own client, unchanged, against our server."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

CLIENT = """
import sys
import numpy as np
import tritonclient.http as triton

client = triton.InferenceServerClient(sys.argv[1])
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("model")
assert client.get_server_metadata()["name"] == "tlpipe"
about = client.get_model_metadata("model")
assert client.is_model_ready("model", about["versions"][0])
images = np.load(sys.argv[2])
found = []
for binary in (True, False):
    tensor = triton.InferInput("image", list(images.shape), "UINT8")
    tensor.set_data_from_numpy(images, binary_data=binary)
    wanted = triton.InferRequestedOutput("probabilities", binary_data=binary)
    for options in ({}, {"outputs": [wanted]}, {"request_compression_algorithm": "gzip"}, {"request_id": "7"}):
        result = client.infer("model", [tensor], **options)
        found.append(result.as_numpy("probabilities"))
    assert result.get_response()["id"] == "7"
calls = [client.async_infer("model", [tensor]) for _ in range(8)]
found += [call.get_result().as_numpy("probabilities") for call in calls]
try:
    wrong = triton.InferInput("image", [1, 2, 2, 3], "FP32")
    client.infer("model", [wrong.set_data_from_numpy(np.zeros((1, 2, 2, 3), np.float32))])
    raise SystemExit("a wrong type was taken")
except triton.InferenceServerException as error:
    assert "the model takes UINT8" in str(error), error
np.save(sys.argv[3], np.stack(found))
"""


def test_tritonclient_works_unchanged(server: Any, graph: Any, pictures: list[np.ndarray], tmp_path: Path):
    images = np.stack([pictures[1], pictures[1][::-1]])
    np.save(tmp_path / "images.npy", images)
    command = [sys.executable, "-W", "ignore", "-c", CLIENT, f"127.0.0.1:{server.port}"]
    command += [str(tmp_path / "images.npy"), str(tmp_path / "found.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "found.npy")
    assert len(found) == 16
    np.testing.assert_allclose(found, np.broadcast_to(graph(images), found.shape), atol=1e-6)

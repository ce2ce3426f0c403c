"""The HTTP interface of a real server: answers, refusals, and what it says about itself."""

import base64
import gzip
import hashlib
import json
import re
import socket
import struct
import time
import uuid
import zlib
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from starlette.routing import compile_path

from tlpipe.serve.predictor import Predictor

Png = Callable[[np.ndarray], bytes]
Graph = Callable[[np.ndarray], np.ndarray]
INFER = "/v2/models/model/infer"


def jpeg(image: np.ndarray, kind: str = "JPEG", **options: Any) -> bytes:
    file = BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def multipart(*files: tuple[str, bytes, str]) -> tuple[bytes, dict[str, str]]:
    boundary = uuid.uuid4().hex
    body = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
        f"Content-Type: {media}\r\n\r\n".encode()
        + content
        + b"\r\n"
        for name, content, media in files
    )
    return body + f"--{boundary}--\r\n".encode(), {"content-type": f"multipart/form-data; boundary={boundary}"}


def tensor(image: np.ndarray, **changes: Any) -> dict[str, Any]:
    entry = {"name": "image", "shape": list(image.shape), "datatype": "UINT8", "data": image.ravel().tolist()}
    return {"inputs": [{key: value for key, value in (entry | changes).items() if value is not None}]}


def binary(document: dict[str, Any], blob: bytes) -> tuple[bytes, dict[str, str]]:
    head = json.dumps(document).encode()
    return head + blob, {"Inference-Header-Content-Length": str(len(head))}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_predict_answers_as_the_predictor(server: Any, bundle: Any, pictures: list[np.ndarray], kind: str):
    raw = jpeg(pictures[1], kind)
    status, content, _ = server.send("POST", "/predict?top=3", raw, {"content-type": f"image/{kind.lower()}"})
    expected = Predictor(bundle, device="cpu", top=3)(raw)
    assert status == 200
    assert content["predictions"] == [expected]
    assert len(expected["top"]) == 3


def test_several_files_at_once(server: Any, bundle: Any, pictures: list[np.ndarray], png: Png):
    body, headers = multipart(*((f"{at}.png", png(image), "image/png") for at, image in enumerate(pictures[:4])))
    status, content, _ = server.send("POST", "/predict", body, headers)
    assert status == 200
    assert content["predictions"] == Predictor(bundle, device="cpu")(pictures[:4])


def test_json_tensors(server: Any, pictures: list[np.ndarray], graph: Graph):
    images = np.stack([pictures[0], pictures[0][::-1]])
    status, content, _ = server.send("POST", INFER, json.dumps(tensor(images) | {"id": "a"}))
    outputs = {output["name"]: np.reshape(output["data"], output["shape"]) for output in content["outputs"]}
    assert (status, content["id"], content["model_name"]) == (200, "a", "model")
    np.testing.assert_allclose(outputs["probabilities"], graph(images), atol=1e-6)


def test_binary_tensors(server: Any, pictures: list[np.ndarray], graph: Graph):
    image = pictures[2][None]
    document = tensor(image, data=None, parameters={"binary_data_size": image.nbytes})
    document["outputs"] = [{"name": "probabilities", "parameters": {"binary_data": True}}]
    body, headers = binary(document, image.tobytes())
    status, content, found = server.send("POST", INFER, body, headers)
    end = int(found["inference-header-content-length"])
    assert status == 200
    (output,) = json.loads(content[:end])["outputs"]
    assert output["parameters"] == {"binary_data_size": 16}
    np.testing.assert_allclose(np.frombuffer(content[end:], np.float32)[None], graph(image), atol=1e-6)


def test_compressed_bodies(server: Any, pictures: list[np.ndarray]):
    body = gzip.compress(json.dumps(tensor(pictures[0][None])).encode())
    assert server.send("POST", INFER, body, {"content-encoding": "gzip"})[0] == 200
    for bad, status in ((body[:-9], 400), (b"no gzip", 400), (gzip.compress(bytes(3_000_000)), 413)):
        assert server.send("POST", INFER, bad, {"content-encoding": "gzip"})[0] == status
    assert server.send("POST", INFER, body, {"content-encoding": "br"})[0] == 415


def animated(image: np.ndarray, kind: str) -> bytes:
    return jpeg(image, kind, save_all=True, append_images=[Image.fromarray(image[::-1])])


def bomb(width: int, height: int) -> bytes:
    """A PNG file that announces many pixels and has none."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


IMAGE = np.zeros((4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("raw", "status", "sentence"),
    [
        (b"", 400, "no bytes"),
        (b"no image", 400, "not_an_image"),
        (jpeg(np.zeros((64, 64, 3), np.uint8))[:300], 400, "truncated"),
        (jpeg(np.zeros((1001, 1000, 3), np.uint8)), 413, "1000 x 1001 pixels"),
        (jpeg(np.zeros((1, 60_000, 3), np.uint8), "PNG"), 413, "once resized"),
        (bomb(60_000, 50_000), 413, "too_large"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 400, "not_an_image"),
        (b"%PDF-1.7", 400, "not_an_image"),
        (bytes(2_000_001), 413, "larger than the 2,000,000 bytes"),
    ],
)
def test_bad_images_get_a_sentence(server: Any, raw: bytes, status: int, sentence: str):
    found, content, _ = server.send("POST", "/predict", raw, {"content-type": "image/jpeg"})
    assert found == status
    assert sentence in content["error"]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "MPO", "TIFF"])
def test_the_first_frame_of_an_animation_is_answered_for(server: Any, pictures: list[np.ndarray], kind: str):
    found = [
        server.send("POST", "/predict", raw)[1]["predictions"][0]
        for raw in (animated(pictures[1], kind), jpeg(pictures[1], "JPEG" if kind == "MPO" else kind))
    ]
    assert found[0]["label"] == found[1]["label"]
    assert found[0]["probability"] == pytest.approx(found[1]["probability"], abs=0.05)


def test_the_pixels_of_all_parts_are_summed(server: Any):
    """The server's limit is a million a picture, two a request."""
    raw = jpeg(np.zeros((900, 1000, 3), np.uint8), "PNG")
    parts = [(f"{at}.png", raw, "image/png") for at in range(4)]
    assert server.send("POST", "/predict", *multipart(*parts[:2]))[0] == 200
    status, content, _ = server.send("POST", "/predict", *multipart(*parts))
    assert status == 413
    assert "more than 2,000,000 pixels together" in content["error"]


def test_too_many_pixels_are_refused_before_the_first_is_decoded(server: Any):
    """The files have a header alone, so that decoding any of them would give another refusal."""
    parts = [(f"{at}.png", bomb(1000, 900), "image/png") for at in range(4)]
    status, content, _ = server.send("POST", "/predict", *multipart(*parts))
    assert status == 413
    assert "have 3,600,000 pixels, more than 2,000,000 pixels together" in content["error"]
    status, content, _ = server.send("POST", "/predict", *multipart(*parts[:2]))
    assert (status, "part 1 of 2" in content["error"]) == (400, True)


def test_parts_without_a_content_type_are_images(server: Any, png: Png):
    body, headers = multipart(("a.png", png(IMAGE), "image/png"))
    assert server.send("POST", "/predict", body.replace(b"\r\nContent-Type: image/png", b""), headers)[0] == 200


def test_a_bad_part_is_named(server: Any, png: Png):
    good = ("good.png", png(IMAGE), "image/png")
    status, content, _ = server.send("POST", "/predict", *multipart(good, ("bad.png", b"x", "image/png")))
    assert (status, content["error"][:24]) == (400, "part 2 of 2 (bad.png): t")
    assert server.send("POST", "/predict", *multipart(good, ("a.txt", b"x", "text/plain")))[0] == 415
    assert server.send("POST", "/predict", *multipart(*[good] * 5))[0] == 413


@pytest.mark.parametrize(
    ("path", "body", "content_type", "status"),
    [
        ("/predict?top=0", b"", "image/png", 400),
        ("/predict?top=x", b"", "image/png", 400),
        ("/predict", b"{}", "application/json", 415),
        ("/predict", b"--a\r\n", "multipart/form-data; boundary=a", 400),
        ("/predict", b"nothing", "multipart/form-data", 400),
        ("/predict", b"nothing", "multipart/form-data; boundary=a", 400),
        ("/predict", b"nothing", "multipart/form-data; boundary=" + "a" * 5000, 400),
    ],
)
def test_bad_requests_to_predict(server: Any, path: str, body: bytes, content_type: str, status: int):
    found, content, _ = server.send("POST", path, body, {"content-type": content_type})
    assert found == status
    assert content["error"]


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "JSON object"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"inputs": [NaN]}', "NaN is not a JSON number"),
        (b'{"inputs": ' + b"9" * 5000 + b"}", "not JSON"),
        ({}, "inputs must be a list"),
        ({"inputs": []}, "'image' is missing"),
        ({"inputs": [3]}, "an input must be a JSON object"),
        ({"inputs": tensor(IMAGE[None])["inputs"] * 2}, "appears twice"),
        (tensor(IMAGE[None], name="pixels"), "unknown input 'pixels'"),
        (tensor(IMAGE[None], datatype="FP32"), "has datatype 'FP32'"),
        (tensor(IMAGE[None], shape=[4, 4, 3]), "the model takes [batch, height, width, 3]"),
        (tensor(IMAGE[None], shape=[1, 4, 3, 4]), "the model takes"),
        (tensor(IMAGE[None], shape=[1, 0, 4, 3]), "the model takes"),
        (tensor(IMAGE[None], shape=[1, 4, 4.0, 3]), "the model takes"),
        (tensor(IMAGE[None], shape=[True, 4, 4, 3]), "the model takes"),
        (tensor(IMAGE[None], shape=[1, 10**6, 10**6, 3], data=[1]), "has 1 values"),
        (tensor(IMAGE[None], data=[256] * 48), "cannot hold"),
        (tensor(IMAGE[None], data=[-1] * 48), "cannot hold"),
        (tensor(IMAGE[None], data=[0.5] * 48), "whole numbers"),
        (tensor(IMAGE[None], data=["a"] * 48), "whole numbers"),
        (tensor(IMAGE[None], data=[True] * 48), "whole numbers"),
        (tensor(IMAGE[None], data=[[1], [1, 2]]), "ragged"),
        (tensor(IMAGE[None], data=[]), "whole numbers"),
        (tensor(IMAGE[None], data="zeros"), "has no data"),
        (tensor(IMAGE[None], data=[10**400] * 48), "whole numbers"),
        (tensor(IMAGE[None], parameters={"binary_data_size": 48}), "both data and binary_data_size"),
        (tensor(IMAGE[None], data=None, parameters={"binary_data_size": 48}), "only 0 left"),
        (tensor(IMAGE[None], data=None, parameters={"binary_data_size": 47}), "has 48 bytes"),
        (tensor(IMAGE[None], parameters=3), "parameters must be a JSON object"),
        (tensor(IMAGE[None]) | {"id": 3}, "id must be a text"),
        (tensor(IMAGE[None]) | {"outputs": [{"name": "no"}]}, "unknown output 'no'"),
        (tensor(IMAGE[None]) | {"outputs": [{"name": "logits", "parameters": {"classification": 2}}]}, "not known"),
    ],
)
def test_bad_tensors_get_a_sentence(server: Any, document: Any, sentence: str):
    body = document if isinstance(document, bytes) else json.dumps(document)
    status, content, _ = server.send("POST", INFER, body)
    assert status == 400, content
    assert sentence in content["error"]


def test_tensors_over_a_limit(server: Any):
    for shape in ([5, 4, 4, 3], [1, 1, 60_000, 3], [4, 600, 600, 3]):
        size = int(np.prod(shape))
        document = tensor(IMAGE[None], data=None, shape=shape, parameters={"binary_data_size": size})
        body, headers = binary(document, bytes(min(size, 1_900_000)))
        status, content, _ = server.send("POST", INFER, body, headers)
        assert status == (413 if size < 1_900_000 else 400), content
        assert content["error"]


@pytest.mark.parametrize("length", ["x", "-1", "99999", "1e3"])
def test_bad_header_lengths(server: Any, length: str):
    status, content, _ = server.send("POST", INFER, b"{}", {"Inference-Header-Content-Length": length})
    assert status == 400
    assert "Inference-Header-Content-Length" in content["error"]


def test_paths_and_methods(server: Any):
    for method, path, status in (
        ("GET", "/nothing", 404), ("GET", "/predict", 405), ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/model/versions/7", 404), ("POST", "/v2/models/other/infer", 404),
        ("GET", "/v2/models/%ff%fe", 404), ("GET", "/" + "a" * 5000, 404),
    ):  # fmt: skip
        found, content, _ = server.send(method, path)
        assert found == status
        assert content["error"]


def test_the_server_describes_itself(server: Any, bundle: Any):
    about = server.send("GET", "/v2/models/model")[1]
    assert about["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, -1, -1, 3]}]
    assert about["parameters"]["labels"] == ["ant", "bee", "größe", "wasp"]
    version = about["versions"][0]
    assert server.send("GET", f"/v2/models/model/versions/{version}/ready")[:2] == (
        200,
        {"name": "model", "ready": True},
    )
    assert server.send("GET", "/v2")[1]["extensions"] == ["binary_tensor_data"]
    assert server.send("GET", "/v2/health/live")[:2] == (200, {"live": True})
    assert server.send("GET", "/v2/health/ready")[:2] == (200, {"ready": True})
    assert b"Drop images here" in server.send("GET", "/")[1]


def test_the_openapi_document_has_every_path(server: Any):
    from tlpipe.serve.http.app import Service
    from tlpipe.serve.http.settings import Settings

    described = server.send("GET", "/openapi.json")[1]["paths"]
    routes = {route.path: route for route in Service(Settings(bundle=Path("absent"))).routes()}
    for path, route in routes.items():
        if "{version}" not in path:
            filled = path.replace("{name}", "model")
            assert compile_path(route.path)[0].match(filled)
            assert {method.lower() for method in route.methods or () if method != "HEAD"} == set(described[filled])


def test_metrics_are_what_was_done(server: Any, png: Png):
    def value(name: str) -> float:
        lines = server.send("GET", "/metrics")[1].decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    name = 'tlpipe_requests_total{endpoint="predict",status="200"}'
    before, samples = value(name), value("tlpipe_batch_samples_sum")
    for _ in range(3):
        server.send("POST", "/predict", png(IMAGE))
    assert value(name) == before + 3
    assert value("tlpipe_batch_samples_sum") == samples + 3
    assert value('tlpipe_request_seconds_bucket{endpoint="predict",le="+Inf"}') >= 3
    assert value('tlpipe_model_info{model="model"') == 1
    text = server.send("GET", "/metrics")[1].decode()
    assert 'provider="CPUExecutionProvider"' in text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families.keys() == {
        "tlpipe_requests", "tlpipe_request_seconds", "tlpipe_batch_samples", "tlpipe_graph_seconds",
        "tlpipe_queue_seconds", "tlpipe_queue_samples", "tlpipe_model_info", "tlpipe_reloads",
        "tlpipe_start_time_seconds",
    }  # fmt: skip
    assert families["tlpipe_requests"].type == "counter"
    assert {sample.name for sample in families["tlpipe_requests"].samples} == {"tlpipe_requests_total"}


def test_each_request_is_a_line_of_json(server: Any):
    server.send("GET", "/nothing/of/this/name")
    line = server.wait_for("/nothing/of/this/name", field="path")  # written after the answer was sent
    assert (line["status"], line["method"], line["endpoint"], line["level"]) == (404, "GET", "none", "info")


def test_slow_bodies_and_half_heads_do_not_stall(server: Any, png: Png):
    with connect(server) as slow, connect(server) as half:
        slow.sendall(b"POST /predict HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 100\r\n\r\nabc")
        half.sendall(b"POST /predict HT")
        assert server.send("POST", "/predict", png(IMAGE))[0] == 200
        answer = b"".join(iter(lambda: slow.recv(10_000), b""))
    assert b" 408 " in answer.splitlines()[0]
    assert b"did not arrive within 1 s" in answer


def connect(server: Any) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=120)


def test_what_is_not_http_is_refused(server: Any):
    for raw in (b"\x16\x03\x01\x02\x00\x01\x00\x01", b"GET\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n"):
        with connect(server) as connection:
            connection.sendall(raw + b"\r\n\r\n")
            assert b" 400 " in connection.recv(1000).splitlines()[0]


def exchange(server: Any, raw: bytes) -> bytes:
    """All that comes back until the server closes the connection."""
    answer = b""
    with connect(server) as connection, suppress(ConnectionError):  # it may close before it has read all
        connection.sendall(raw)
        while part := connection.recv(100_000):
            answer += part
    return answer


def test_two_lengths_of_a_body_are_refused_and_the_connection_ends(server: Any):
    head = b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = exchange(server, head + b"0\r\n\r\nGET /v2 HTTP/1.1\r\nhost: a\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"both Content-Length and Transfer-Encoding" in answer
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("each", [b"x: " + b"a" * 2_700_000, b"x: y\r\n" * 4_000, b"x: " + b"a" * 40_000])
def test_a_head_that_is_too_large_is_refused(server: Any, each: bytes):
    answer = exchange(server, b"GET /v2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n" + each.strip() + b"\r\n\r\n")
    assert not answer or answer.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))


def test_the_largest_heads_that_clients_send_are_taken(server: Any):
    assert server.send("GET", "/v2", headers={"cookie": "a" * 15_000})[0] == 200


def test_no_answer_names_the_host_that_a_client_says(server: Any):
    for path in ("/predict/", "/v2/", "/metrics/", "//evil.example/"):
        status, _, headers = server.send("GET", path, headers={"host": "evil.example"})
        assert status == 404
        assert "evil.example" not in str(headers)


def test_the_page_runs_and_loads_nothing_but_its_own(server: Any):
    _, page, headers = server.send("GET", "/")
    policy = dict(each.split(" ", 1) for each in headers["content-security-policy"].split("; "))
    assert (policy["default-src"], policy["frame-ancestors"], policy["base-uri"]) == ("'none'",) * 3
    (script,) = re.findall(rb"<script>(.*?)</script>", page, re.DOTALL)
    assert policy["script-src"] == f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"
    assert not re.search(rb"<[^>]* (style|on\w+)=", page)
    assert headers["x-frame-options"] == "DENY"
    for path in ("/", "/v2", "/nothing", "/metrics", "/openapi.json"):
        assert server.send("GET", path)[2]["x-content-type-options"] == "nosniff"


def test_clients_that_leave_do_not_harm(server: Any, pictures: list[np.ndarray], png: Png):
    raw = png(pictures[0])
    for _ in range(20):
        with connect(server) as connection:
            connection.sendall(
                f"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: {len(raw)}\r\n\r\n".encode() + raw
            )
    time.sleep(0.1)
    assert server.send("POST", "/predict", raw)[0] == 200
    assert not [line for line in server.lines() if line["level"] == "error"]

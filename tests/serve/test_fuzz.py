"""Slow: thousands of requests that no client should send, by mutation and from the OpenAPI document."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bundles import TASKS, make_bundle_of

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks.serve.fuzz import fuzz, requests

pytestmark = pytest.mark.slow
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def test_the_same_seed_gives_the_same_requests():
    first = requests(50, 3, "text_classification", INPUTS)
    assert first == requests(50, 3, "text_classification", INPUTS)
    assert first != requests(50, 4, "text_classification", INPUTS)


def test_no_bytes_end_or_confuse_the_server(server: Any):
    seen, bad = fuzz(server.port, 2_500, seed=1)
    assert not bad
    assert sum(seen.values()) == 2_500
    assert seen["200"] > 100
    assert seen["400"] > 1_000
    errors = [line for line in server.lines() if line["level"] == "error"]
    assert not errors, errors[0]


@pytest.mark.parametrize("task", TASKS)
def test_no_texts_and_tokens_do_either_and_the_interface_is_as_described(task: str, serve: Any, tmp_path: Path):
    with serve(make_bundle_of(task, tmp_path), tmp_path / "log", "--drain", 0) as server:
        seen, bad = fuzz(server.port, 600, seed=1)
        assert not bad
        assert sum(seen.values()) == 600
        assert seen["200"] > 60
        assert seen["400"] > 200
        assert_as_described(server, tmp_path)
        errors = [line for line in server.lines() if line["level"] == "error"]
    assert not errors, errors[0]


def test_the_interface_is_what_its_document_says(server: Any, tmp_path: Path):
    assert_as_described(server, tmp_path)


def assert_as_described(server: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{server.port}/openapi.json"]
    command += ["--max-examples", "30", "--seed", "1", "--no-color", "--suppress-health-check", "all"]
    command += ["--checks", "not_a_server_error,status_code_conformance,content_type_conformance"]
    command[-1] += ",response_schema_conformance"
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-4000:]

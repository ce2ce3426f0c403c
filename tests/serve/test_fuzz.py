"""Slow: thousands of requests that no client should send, by mutation and from the OpenAPI document."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks.serve.fuzz import fuzz, requests

pytestmark = pytest.mark.slow


def test_the_same_seed_gives_the_same_requests():
    assert requests(50, 3) == requests(50, 3)
    assert requests(50, 3) != requests(50, 4)


def test_no_bytes_end_or_confuse_the_server(server: Any):
    seen, bad = fuzz(server.port, 2_500, seed=1)
    assert not bad
    assert sum(seen.values()) == 2_500
    assert seen["200"] > 100
    assert seen["400"] > 1_000
    assert not [line for line in server.lines() if line["level"] == "error"]


def test_the_interface_is_what_its_document_says(server: Any, tmp_path: Path):
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{server.port}/openapi.json"]
    command += ["--max-examples", "30", "--seed", "1", "--no-color", "--suppress-health-check", "all"]
    command += ["--checks", "not_a_server_error,status_code_conformance,content_type_conformance"]
    command[-1] += ",response_schema_conformance"
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-4000:]

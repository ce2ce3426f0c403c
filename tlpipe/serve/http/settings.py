"""How a server is to behave: what it takes, how long it waits, whom it answers."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from tlpipe.config import Spec
from tlpipe.serve.runtime.batcher import Batching
from tlpipe.serve.runtime.session import Runtime


class Limits(Spec):
    """What one request may cost."""

    body: Annotated[int, Field(ge=1)] = 64 * 2**20
    """Bytes of a body, also once decompressed."""
    json_bytes: Annotated[int, Field(ge=1)] = 4 * 2**20
    """Bytes of JSON: parsing it stops every other request for a while."""
    pixels: Annotated[int, Field(ge=1)] | None = None
    """Of an image, and of all images of one tensor request together; of all parts of a multipart body together twice
    as many. None = the limit of the training, which the bundle carries."""
    items: Annotated[int, Field(ge=1)] = 64
    """Samples in one request."""
    held: Annotated[int, Field(ge=1)] = 2**30
    """Bytes of all bodies that are held at one time."""
    body_seconds: Annotated[float, Field(gt=0)] = 30.0
    """For a body to arrive."""
    answer_seconds: Annotated[float, Field(gt=0)] = 30.0
    """For an answer, from the complete body on."""


class Settings(Spec):
    """A server."""

    bundle: Path
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] = "model"
    """The model's name in URLs."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """0 = a free one, which is printed."""
    token: Annotated[str, Field(min_length=1)] | None = None
    """Clients must send `Authorization: Bearer <token>`; None = nobody has to."""
    insecure: bool = False
    """Listen without a token on addresses that other machines can reach."""
    certificate: Path | None = None
    key: Path | None = None
    watch: Annotated[float, Field(ge=0)] = 0.0
    """Seconds between looks for a new bundle in the folder; 0 = only on SIGHUP."""
    drain: Annotated[float, Field(ge=0)] = 1.0
    """Seconds after SIGTERM in which requests are still taken, while `/v2/health/ready` already says no."""
    requests_log: bool = True
    """A line a request."""
    runtime: Runtime = Runtime()
    batching: Batching = Batching()
    limits: Limits = Limits()

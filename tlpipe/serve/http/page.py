"""The page at `/`, and the headers that keep a browser from running or framing anything but it."""

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files


@cache
def page() -> tuple[str, int, dict[str, str]]:
    """(HTML, status, headers); of scripts and styles only the page's own run, named by their hashes."""
    text = files("tlpipe.serve.http").joinpath("page.html").read_text(encoding="utf-8")
    policy = {
        "default-src": "'none'",
        "script-src": _hashes(text, "script"),
        "style-src": _hashes(text, "style"),
        "img-src": "blob:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    headers = {
        "content-security-policy": "; ".join(f"{name} {sources}" for name, sources in policy.items()),
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
    }
    return text, 200, headers


def _hashes(text: str, element: str) -> str:
    blocks = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
    return " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()}'" for block in blocks
    )

"""Where samples come from: the union of sources is the registry."""

from tlpipe.data.spec import AnySource

__all__ = ["AnySource"]

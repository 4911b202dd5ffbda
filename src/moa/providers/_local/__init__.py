"""Models that run on this machine's processor: the embedded one, and any GGUF file."""

from moa.providers._local.provider import open_local

__all__ = ["open_local"]

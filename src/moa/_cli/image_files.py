"""Images from files, known by their content and not by their name."""

from pathlib import Path

from moa._messages import ImagePart
from moa._validation.bounded_files import read_file
from moa._validation.file_errors import os_reason
from moa.errors import UsageError

MAX_IMAGE_BYTES = 20 * 1024 * 1024
"""Most bytes of one image; no service that we know takes more."""

_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}


def media_type(data: bytes) -> str | None:
    """Return the media type of a PNG, JPEG, GIF or WebP image by its first bytes, None for anything else."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for signature, kind in _SIGNATURES.items() if data.startswith(signature)), None)


def image_from_file(path: Path) -> ImagePart:
    """Return an image part with a file's bytes.

    Raises:
        UsageError: The file can't be read, is too large, or is no PNG, JPEG, GIF or WebP image.
    """
    try:
        data = read_file(path, MAX_IMAGE_BYTES)
    except OSError as error:
        raise UsageError(f"the image {path} can't be read: {os_reason(error)}") from error
    kind = media_type(data)
    if kind is None:
        raise UsageError(f"{path} is not a PNG, JPEG, GIF or WebP image")
    return ImagePart(data=data, media_type=kind)

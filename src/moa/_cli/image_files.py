"""Images from files, known by their content and not by their name."""

from pathlib import Path

from moa._messages import ImagePart
from moa._validation.bounded_files import read_file
from moa._validation.file_errors import os_reason
from moa.errors import UsageError
from moa.providers._conversations import image_type

MAX_IMAGE_BYTES = 20 * 1024 * 1024
"""Most bytes of one image; no service that we know takes more."""


def image_from_file(path: Path) -> ImagePart:
    """Return an image part with a file's bytes.

    Raises:
        UsageError: The file can't be read, is too large, or is no PNG, JPEG, GIF or WebP image.
    """
    try:
        data = read_file(path, MAX_IMAGE_BYTES)
    except OSError as error:
        raise UsageError(f"the image {path} can't be read: {os_reason(error)}") from error
    kind = image_type(data)
    if kind is None:
        raise UsageError(f"{path} is not a PNG, JPEG, GIF or WebP image")
    return ImagePart(data=data, media_type=kind)

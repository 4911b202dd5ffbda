import io
from pathlib import Path

import pytest
from PIL import Image

from moa._cli.image_files import MAX_IMAGE_BYTES, image_from_file
from moa.errors import UsageError


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp"])
def test_image_from_file_knows_an_image_by_its_content_whatever_its_name(kind: str, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, kind)
    (tmp_path / "picture.txt").write_bytes(buffer.getvalue())

    image = image_from_file(tmp_path / "picture.txt")

    assert (image.media_type, image.data) == (f"image/{kind}", buffer.getvalue())


@pytest.mark.parametrize("content", [b"", b"RIFF1234WAVE", b"<svg/>"])
def test_image_from_file_refuses_anything_else(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(content)

    with pytest.raises(UsageError, match="is not a PNG, JPEG, GIF or WebP image"):
        image_from_file(tmp_path / "picture.png")


def test_image_from_file_refuses_what_cannot_be_read_or_is_too_large(tmp_path: Path) -> None:
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(MAX_IMAGE_BYTES + 1)

    with pytest.raises(UsageError, match="there is no such file"):
        image_from_file(tmp_path / "none.png")
    with pytest.raises(UsageError, match="larger than 20,971,520 bytes"):
        image_from_file(tmp_path / "large.png")

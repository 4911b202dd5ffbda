"""Where the documentation's pictures are, and how they are kept small."""

import io
from pathlib import Path

from PIL import Image

IMAGES = Path(__file__).parents[2] / "docs" / "images"


def save_png(name: str, taken: bytes) -> None:
    """Write a screenshot as a PNG of few bytes: a palette takes a quarter of them, and nobody sees the difference."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    picture = Image.open(io.BytesIO(taken)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    picture.save(IMAGES / f"{name}.png", optimize=True)

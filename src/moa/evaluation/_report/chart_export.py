"""Charts as SVG and PNG, drawn without any browser."""

from collections.abc import Mapping
from typing import Any

from moa.errors import MissingDependency

_SCALE = 2.0


def svg(document: Mapping[str, Any]) -> str:
    """Return a Vega-Lite chart as SVG.

    Raises:
        MissingDependency: The `eval` extra isn't installed.
    """
    text: str = _converter().vegalite_to_svg(dict(document))
    return text


def png(document: Mapping[str, Any]) -> bytes:
    """Return a Vega-Lite chart as PNG, at twice its size.

    Raises:
        MissingDependency: The `eval` extra isn't installed.
    """
    image: bytes = _converter().vegalite_to_png(dict(document), scale=_SCALE)
    return image


def _converter() -> Any:
    try:
        import vl_convert
    except ImportError as error:
        raise MissingDependency.of("the report", extra="eval") from error
    return vl_convert

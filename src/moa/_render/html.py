"""Rendering of the package's HTML templates; all values are escaped and sanitized."""

from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

from moa._render.sanitize import safe


def filled(template: str, **values: Any) -> str:
    """Return a template of `_render/templates` with these values; their text is never markup."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("moa._render"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _harmless(value: Any) -> Any:
    """Text of models or services can contain bidirectional overrides and control characters; they are made visible."""
    return safe(value) if isinstance(value, str) and not isinstance(value, Markup) else value

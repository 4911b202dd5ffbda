"""What mkdocs calls while it builds the site: it must not load anything from a foreign host when somebody reads it."""

import re
from pathlib import Path
from typing import Any

_LOADS = re.compile(
    r"""<(?:script|img|iframe|source|video|audio)\b[^>]*?\bsrc=["'](?:https?:)?//[^"']+"""
    r"""|<link\b(?![^>]*\brel=["']?canonical)[^>]*?\bhref=["'](?:https?:)?//[^"']+"""
    r"""|@import\s+(?:url\()?["']?(?:https?:)?//\S+|url\(["']?(?:https?:)?//[^)]+""",
    re.IGNORECASE,
)


def foreign_loads(text: str) -> list[str]:
    """Return the places of a page or style sheet that make a browser load something from another host."""
    return [match.group() for match in _LOADS.finditer(text)]


def on_page_content(html: str, **_: Any) -> str:
    """Return a page without the `::` that docstrings put before code and Markdown doesn't know."""
    return html.replace("<p>::</p>\n", "")


def on_post_build(config: Any, **_: Any) -> None:
    """Stop the build if a page of the site would load something from another host."""
    from mkdocs.exceptions import PluginError  # here, so that the rest can be tested where mkdocs isn't installed

    site = Path(config["site_dir"])
    for page in sorted([*site.rglob("*.html"), *site.rglob("*.css")]):
        if found := foreign_loads(page.read_text(encoding="utf-8")):
            raise PluginError(f"{page.relative_to(site)} loads from a foreign host: {found[0]}")

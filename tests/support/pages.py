"""HTML as a browser would see it."""

from html.parser import HTMLParser

_ACTIVE = {"script", "iframe", "object", "embed", "form", "input", "link", "meta", "base", "a"}


class Page(HTMLParser):
    """What a browser would make of HTML.

    Attributes:
        tags: Every element's name and attributes.
        text: All text, that of styles left out.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._in_style = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def handle_data(self, data: str) -> None:
        if not self._in_style:
            self.text += data

    @property
    def names(self) -> list[str]:
        """The elements' names."""
        return [name for name, _ in self.tags]

    @property
    def is_inert(self) -> bool:
        """Whether nothing in it runs, leads or loads anywhere; pictures may be inside of it."""
        addresses = [given.get(name) or "" for _, given in self.tags for name in ("src", "href")]
        return (
            not _ACTIVE & set(self.names)
            and not any(name.startswith("on") for _, given in self.tags for name in given)
            and all(not address or address.startswith("data:image/") for address in addresses)
        )

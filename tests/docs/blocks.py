"""The code blocks of the documentation, and what makes them run without a network."""

import json
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from moa._config.builtin_endpoints import BUILT_IN
from moa._mixture.loading import load, preset_names

ROOT = Path(__file__).parent.parent.parent

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

OUTCOMES = "outcomes.json"
"""Where `run_blocks` writes what became of the Python blocks."""

REPLY = 'Ride a cable car, then walk. {"best": 1, "reason": "Both are fine.", "verdict": "tie"}'
"""What every model says: an answer, the choice of an aggregator that selects, and the verdict of a judge."""

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<head>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```\s*$",
    re.MULTILINE | re.DOTALL,
)
_REASON = re.compile(r"<!-- not run: (?P<reason>[^\n]+?) -->\s*$")
_REFERENCE = re.compile(rf"""["'\s\[]((?:{"|".join(BUILT_IN)})/[^\s"',}}\]#]+)""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block.

    Attributes:
        page: Its page, relative to the repository.
        line: Where it begins, from 1.
        language: As the fence says; empty if it doesn't.
        title: The file that it shows, empty if none.
        code: Its text.
        reason: Why it is not run, empty if it is.
    """

    page: str
    line: int
    language: str
    title: str
    code: str
    reason: str

    def __str__(self) -> str:
        """Where it is."""
        return f"{self.page}:{self.line}"


def blocks_of(text: str, page: str) -> Iterator[Block]:
    """Give the blocks of a page's text."""
    for match in _FENCE.finditer(text):
        before = text[: match.start()]
        reason = _REASON.search(before)
        language, _, rest = match["head"].strip().partition(" ")
        title = re.search(r'title="([^"]+)"', rest)
        yield Block(
            page=page,
            line=before.count("\n") + 1,
            language=language,
            title=title[1] if title else "",
            code=re.sub(rf"^{match['indent']}", "", match["code"], flags=re.MULTILINE),
            reason=reason["reason"] if reason else "",
        )


BLOCKS = [
    block for page in PAGES for block in blocks_of(page.read_text(encoding="utf-8"), page.relative_to(ROOT).as_posix())
]


def commands_of(block: Block) -> list[list[str]]:
    """Return the command lines of a block that are ours, as words after `moa`."""
    lines = [line[2:] for line in block.code.replace("\\\n", " ").splitlines() if line.startswith("$ ")]
    words = [shlex.split(line.rpartition(" | ")[2], comments=True) for line in lines]
    words = [line[line.index("moa") :] if line[:2] == ["uv", "run"] and "moa" in line else line for line in words]
    return [line[1:] for line in words if line[:1] == ["moa"]]


def scripted_settings(blocks: Iterable[Block]) -> str:
    """Return a `moa.yaml` in which every model of the presets and of these blocks answers from a script."""
    presets = {name for preset in preset_names() for name in load(preset).references}
    written = {match[1] for block in blocks for match in _REFERENCE.finditer(block.code)}
    models: dict[str, dict[str, object]] = {}
    for reference in sorted(presets | written):
        endpoint, _, model = reference.partition("/")
        models.setdefault(endpoint, {})[model] = REPLY
    endpoints = {
        name: {"kind": "scripted", "prices": {"*": {"input": 1, "output": 2}}, "options": {"replies": replies}}
        for name, replies in models.items()
    }
    return json.dumps({"endpoints": endpoints})

"""Names that a stranger can guess: the field's terms, not metaphors of our own."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import moa

SOURCE = Path(moa.__file__).parent

REFUSED = frozenset(
    re.findall(
        r"\w+",
        """
        bought booked booking books candid crew cure discreet door doors gauge hear heard hearing hears hygiene kept
        listening menu narrate narrated narration narrator opinion overheard purse said salvage seat seated seats shelf
        spoken talk tally tell teller tells thrift told visit visitor visits warm
        """,
    )
)
"""Words that no identifier may have as a part: each is our own metaphor for something that has a usual name."""

REFUSED_IN = {"_server": frozenset({"script", "scripts"})}
"""Further ones in one package: a script is what a scripted provider plays, and nothing in the server."""

ALLOWED: dict[str, frozenset[str]] = {
    "evaluation": frozenset({"tell"}),
}
"""What is left of them, by package. This list may only shrink: the last use takes its entry along."""

ALLOWED_TWICE = frozenset({"StreamDecoder"})
"""Classes that two modules have. This list may only shrink; `StreamDecoder` has one meaning."""


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _identifiers(tree: ast.AST) -> Iterator[str]:
    """Every name that a module defines: functions, classes, arguments, variables and attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                yield name


def words(identifier: str) -> list[str]:
    """Split at underscores and capitals."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", identifier)]


def found_in(path: Path, package: str) -> dict[str, str]:
    """Refused words of a module, each with an identifier that has it; its own name counts too."""
    refused = REFUSED | REFUSED_IN.get(package, frozenset())
    names = [path.stem, *_identifiers(_parsed(path))]
    return {word: name for name in names for word in words(name) if word in refused}


def test_no_identifier_is_a_metaphor_of_our_own() -> None:
    refused = []
    left: dict[str, set[str]] = {package: set() for package in ALLOWED}
    for path in sorted(SOURCE.rglob("*.py")):
        place = path.relative_to(SOURCE)
        package = place.parts[0].removesuffix(".py")
        allowed = ALLOWED.get(package, frozenset())
        for word, name in found_in(path, package).items():
            if word in allowed:
                left[package].add(word)
            else:
                refused.append(f"{place}: {name} ({word})")

    assert refused == [], "use the field's term: CONTRIBUTING.md, Preferred terms"
    gone = {package: sorted(ALLOWED[package] - words) for package, words in left.items() if ALLOWED[package] - words}
    assert gone == {}, "nothing uses these any more: take them off the list"


def test_a_metaphor_is_found_in_every_kind_of_name(tmp_path: Path) -> None:
    program = """
class PurseOfRuns: ...
def _told_of(seat_count, *, heard): overHEARDTwice = self.crew_size = 1
match x:
    case {"a": books, **shelf}: ...
    case [1, *doors]: ...
"""
    (tmp_path / "visit.py").write_text(program)

    expected = {"purse", "told", "seat", "heard", "crew", "books", "shelf", "doors", "visit"}
    assert found_in(tmp_path / "visit.py", "x").keys() == expected
    assert "script" in REFUSED_IN["_server"]
    assert words("HTTPSeatMap_v2") == ["http", "seat", "map", "v"]


def test_no_two_classes_of_one_name_have_two_meanings() -> None:
    places: dict[str, list[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(_parsed(path)):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(str(path.relative_to(SOURCE)))

    several = {name: found for name, found in places.items() if len(found) > 1}
    assert {name: found for name, found in several.items() if name not in ALLOWED_TWICE} == {}
    assert sorted(ALLOWED_TWICE - several.keys()) == [], "these have one meaning now: take them off the list"

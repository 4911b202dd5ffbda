"""Validation of YAML files and equivalent mappings against pydantic models: every error names file, line and key.

The loader makes plain values only (YAML 1.2's core schema, and `yes`, `no`, `on`, `off`), in time linear in the length
of the text. Duplicate keys, several documents and texts whose aliases expand to a huge document are errors too.
"""

import copy
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from moa._validation.bounded_files import read_file
from moa._validation.file_errors import os_reason
from moa._validation.strict_model import Key, explain, explain_all
from moa._validation.yaml_errors import yaml_fault
from moa.errors import ConfigError, MixtureError

M = TypeVar("M", bound=BaseModel)
FileError = type[MixtureError] | type[ConfigError]

MAX_BYTES = 1_000_000
"""Maximum size of a file, in bytes: a hundred times what a large mixture needs."""

MAX_NODES = 20_000
"""Maximum number of values in a document, with aliases expanded."""

MAX_DEPTH = 40
"""Maximum depth of nesting; it also stops recursive aliases."""

MAX_NUMBER_CHARS = 100
"""Maximum length of a number, in characters; Python's own limit of 4,300 digits excludes hexadecimal ones."""

_TOO_LARGE = f"too large: more than {MAX_NODES:,} values or {MAX_DEPTH} levels, with aliases expanded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The values of a file or mapping before they are checked.

    Attributes:
        data: Plain values; a private copy, which may be changed.
        error: Class of the error to raise.
        path: The file, None for a mapping given in code.
        lines: Line of each key and list item, from 1.
        overridden: Keys whose values don't come from the file.
    """

    data: Any
    error: FileError
    path: Path | None = None
    lines: Mapping[Key, int] = field(default_factory=dict, repr=False)
    overridden: frozenset[Key] = frozenset()

    def failure(self, message: str, key: Key = ()) -> MixtureError | ConfigError:
        """Return the document's error for a key, with the line of the key or of its parent."""
        dotted = ".".join(map(str, key)) or None
        within = [key[:length] for length in range(len(key), -1, -1)]
        if not self.overridden.isdisjoint(within):
            return self.error(f"{message} (set by an override)", key=dotted)
        line = next((self.lines[part] for part in within if part in self.lines), None)
        return self.error(message, path=self.path, line=line, key=dotted)


class _Loader(yaml.SafeLoader):
    """A loader with bounded work: it stops at the maximum number of values, and makes plain values only.

    YAML 1.1's dates and base-60 numbers (`1:30:00`, which take quadratic time) are strings, as in YAML 1.2, and floats
    need no dot (`1e-3`).
    """

    def __init__(self, text: str, max_values: int) -> None:
        super().__init__(text)
        self._values_left, self._depth = max_values, 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._values_left -= 1
        self._depth += 1
        if self._values_left < 0 or self._depth > MAX_DEPTH:
            raise _TooLarge
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def fetch_flow_collection_start(self, token: type[yaml.Token]) -> None:
        # The scanner looks ahead, and its work per bracket grows with the number of open ones.
        if self.flow_level >= MAX_DEPTH:
            raise _TooLarge
        super().fetch_flow_collection_start(token)

    def construct_number(self, node: yaml.ScalarNode) -> int | float | bool:
        """Make a number, or a boolean from a string with that tag."""
        text = str(node.value)
        make = getattr(yaml.SafeLoader, f"construct_yaml_{node.tag.rpartition(':')[2]}")
        try:
            if len(text) > MAX_NUMBER_CHARS or ":" in text:
                raise ValueError
            value: int | float | bool = make(self, node)
        except (ValueError, LookupError, ArithmeticError):
            problem = f"expected a number, true or false, got {text!r:.40}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None
        return value


class _TooLarge(Exception):
    """The document exceeds the maximum number of values or levels."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag.endswith((":bool", ":null", ":merge"))]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"^[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?)"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)
_Loader.yaml_constructors = {
    tag: make
    for tag, make in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.endswith((":null", ":str", ":seq", ":map"))
}
for _kind in ("int", "float", "bool"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_number)


def from_mapping(data: Mapping[str, Any], error: FileError) -> Document:
    """Return a mapping given in code as a document; the mapping itself is never changed.

    Raises:
        MixtureError: Or the other kind of error: it exceeds the limits of a file.
    """
    require_size(data, error)
    return Document(data=copy.deepcopy(dict(data)), error=error)


def require_size(data: object, error: FileError, *, max_values: int = MAX_NODES) -> None:
    """Check that a value does not exceed the limits of a file, or `max_values`.

    Raises:
        MixtureError: Or the other kind of error: it exceeds a limit.
    """
    pending: list[tuple[object, int]] = [(data, 0)]
    for _ in range(max_values):
        if not pending:
            return
        value, depth = pending.pop()
        if depth > MAX_DEPTH:
            break
        inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
        # Bounded, as a list may be very long.
        pending += [(item, depth + 1) for item in islice(inside, max_values)]
    raise error(f"too large: more than {max_values:,} values or {MAX_DEPTH} levels")


def from_file(path: Path, error: FileError) -> Document:
    """Return the document in a YAML file.

    Raises:
        MixtureError: Or the other kind of error: it can't be read, or isn't one safe YAML document.
    """
    try:
        raw = read_file(path, MAX_BYTES)
    except OSError as cause:
        raise error(f"the file can't be read: {os_reason(cause)}", path=path) from cause
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        line = raw.count(b"\n", 0, cause.start) + 1
        raise error("the file is not UTF-8 text: save it as UTF-8", path=path, line=line) from cause
    return from_text(text, error, path=path)


def from_text(text: str, error: FileError, *, path: Path | None = None, max_values: int = MAX_NODES) -> Document:
    """Return the document in a YAML text.

    Args:
        text: One YAML document.
        error: Class of the error to raise.
        path: Its file, for error messages.
        max_values: Maximum number of values before aliases are expanded; afterwards it is `MAX_NODES`.

    Raises:
        MixtureError: Or the other kind of error: it isn't one safe YAML document.
    """
    try:
        loader = _Loader(text, max_values)
        try:
            node = loader.get_single_node()
            if node is None:
                return Document(data={}, error=error, path=path, lines={(): 1})
            _check_nodes(node, error, path)
            # The construction expands merge keys (`<<`) in the nodes, so lines are determined afterwards.
            data = loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as cause:
        problem, line = yaml_fault(cause)
        raise error(f"not valid YAML: {problem}", path=path, line=line) from cause
    except _TooLarge:
        raise error(_TOO_LARGE, path=path) from None
    except (yaml.YAMLError, ValueError, RecursionError) as cause:
        reason = next(iter(str(cause).splitlines()), type(cause).__name__)
        raise error(f"not valid YAML: {reason}", path=path) from cause
    lines = {key: found.start_mark.line + 1 for key, found in _places((), node)}
    return Document(data=data, error=error, path=path, lines={(): node.start_mark.line + 1} | lines)


def check(model: type[M], document: Document) -> M:
    """Return the document as an instance of the model.

    Raises:
        MixtureError: Or the document's other kind of error: the first error, with its location, the expected value
            and the most similar known key.
    """
    try:
        return model.model_validate(document.data)
    except ValidationError as cause:
        key, message = explain(cause, model)
        # Pydantic's error is not chained: it contains the values, which may be secrets.
        raise document.failure(message, key) from None


def all_faults(model: type[BaseModel], document: Document) -> Sequence[MixtureError | ConfigError]:
    """Return all errors in a document, as `check` would raise them; empty if it is valid."""
    try:
        model.model_validate(document.data)
    except ValidationError as cause:
        return [document.failure(message, key) for key, message in explain_all(cause, model)]
    return ()


def _places(key: Key, node: yaml.Node) -> Iterator[tuple[Key, yaml.Node]]:
    """Yield the key of every value with its node: for an entry of a mapping, the node of the key."""
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield (*key, name.value), name
            yield from _places((*key, name.value), value)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*key, index), value
            yield from _places((*key, index), value)


def _check_nodes(root: yaml.Node, error: FileError, path: Path | None) -> None:
    """Refuse duplicate keys, keys that are not strings, and documents that expand without end."""
    pending = [(root, 0)]
    for _ in range(MAX_NODES):
        if not pending:
            return
        node, depth = pending.pop()
        if depth > MAX_DEPTH:
            break
        if isinstance(node, yaml.MappingNode):
            _check_keys(node, error, path)
            pending += [(value, depth + 1) for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            pending += [(value, depth + 1) for value in node.value]
    raise error(_TOO_LARGE, path=path)


def _check_keys(node: yaml.MappingNode, error: FileError, path: Path | None) -> None:
    seen: dict[Hashable, int] = {}
    for name, _ in node.value:
        line = name.start_mark.line + 1
        if not isinstance(name, yaml.ScalarNode):
            raise error("a key must be plain text", path=path, line=line)
        if name.value in seen:
            raise error(f"duplicate key, first in line {seen[name.value]}", path=path, line=line, key=name.value)
        seen[name.value] = line

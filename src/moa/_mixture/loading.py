"""Mixtures from presets, files and mappings, checked whole; `json_schema` is what editors check them with."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from moa._mixture.model_reference import check_reference, is_reference
from moa._mixture.schema import Mixture
from moa._validation.bounded_files import read_file
from moa._validation.file_errors import os_reason
from moa._validation.strict_model import Key
from moa._validation.strict_yaml import MAX_BYTES, Document, all_faults, check, from_file, from_mapping, from_text
from moa._validation.suggestions import did_you_mean
from moa.errors import MixtureError, TemplateError, UnknownMixture

_BUILT_IN_PROMPTS = ("default", "numbered")


def load(source: str | Path | Mapping[str, Any] | Mixture, *, overrides: Sequence[str] = ()) -> Mixture:
    """Return a mixture, completely checked.

    Args:
        source: Name of a preset, path of a file, the same as a mapping (which is left as it is), or a model reference
            for that model alone. A text is a path if it ends in `.yaml` or `.yml` or if such a file exists.
        overrides: Values to put in before the check, e.g. `layers.0.proposers.1.temperature=0.9`.

    Raises:
        UnknownMixture: No preset and no file has this name.
        TemplateError: The prompt's template can't be used.
        MixtureError: Anything else is wrong; it names file, line and key.
    """
    if not overrides:
        if isinstance(source, Mixture):
            return source
        if isinstance(source, str) and source in preset_names():
            return _preset(source)
    document = _document(source)
    changed = _overridden(document, overrides) if overrides else document
    return _with_template(check(Mixture, _named(changed)), changed)


@cache
def preset_names() -> tuple[str, ...]:
    """Return the names of the mixtures that come with the package, sorted."""
    folder = files("moa._mixture") / "presets"
    return tuple(sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml")))


def json_schema() -> dict[str, Any]:
    """Return the mixture file's JSON Schema, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Mixture.model_json_schema()}


def single(reference: str, **agent_fields: Any) -> Mixture:
    """Return the mixture that is just one model: no layers, and the aggregator answers the plain conversation.

    Args:
        reference: `endpoint/model-id`.
        agent_fields: Further keys of the agent, e.g. `temperature`.

    Raises:
        MixtureError: The reference or a field is wrong.
    """
    try:
        check_reference(reference)
    except ValueError as error:
        raise MixtureError(str(error)) from error
    return load(_alone(reference, **agent_fields))


def load_or_faults(path: Path) -> Mixture | Sequence[MixtureError]:
    """Return the mixture of a file, or all of the file's faults; it is read once, as a pipe has to be."""
    try:
        document = _document(path)
        found = all_faults(Mixture, document)
        if not found:
            return _with_template(check(Mixture, _named(document)), document)
    except MixtureError as error:
        return (error,)
    return [fault for fault in found if isinstance(fault, MixtureError)]


def _alone(reference: str, **agent_fields: Any) -> dict[str, Any]:
    return {"name": reference, "layers": [], "aggregator": {"model": reference, **agent_fields}}


@cache
def _preset(name: str) -> Mixture:
    document = _preset_document(name)
    return _with_template(check(Mixture, document), document)


def _preset_document(name: str) -> Document:
    file = files("moa._mixture") / "presets" / f"{name}.yaml"
    return from_text(file.read_text(encoding="utf-8"), MixtureError, path=Path(f"{name}.yaml"))


def _document(source: str | Path | Mapping[str, Any] | Mixture) -> Document:
    if isinstance(source, Mixture):
        return from_mapping(source.as_dict(), MixtureError)
    if isinstance(source, Mapping):
        return from_mapping(source, MixtureError)
    if isinstance(source, str) and source in preset_names():
        return _preset_document(source)
    path = _existing(source)
    if path is None and isinstance(source, str) and is_reference(source) and not _is_file_name(source):
        return from_mapping(_alone(source), MixtureError)
    if path is None:
        raise _unknown(source)
    return from_file(path, MixtureError)


def _existing(source: str | Path) -> Path | None:
    try:
        path = Path(source).expanduser()
        return path if path.exists() and (path.is_file() or isinstance(source, Path) or _is_file_name(source)) else None
    except (OSError, RuntimeError, ValueError):  # too long for a name, an unknown ~user, a NUL
        return None


def _is_file_name(source: str) -> bool:
    return source.endswith((".yaml", ".yml")) and "\n" not in source


def _unknown(source: str | Path) -> UnknownMixture:
    if isinstance(source, Path) or _is_file_name(source):
        return UnknownMixture("there is no such file", path=Path(source))
    if "\n" in source:
        return UnknownMixture("this is a text of several lines, no name: give the mixture as a mapping or as a file")
    names = preset_names()
    return UnknownMixture(
        f"no preset and no file is called {source!r:.80}{did_you_mean(source, names) or '.'} "
        f"Presets are {', '.join(names)}; files end in .yaml, and a model is endpoint/model-id"
    )


def _named(document: Document) -> Document:
    """The document with its file's name as the mixture's, unless it has a name."""
    if document.path is None or not isinstance(document.data, dict) or "name" in document.data:
        return document
    return replace(document, data={"name": document.path.stem, **document.data})


def _overridden(document: Document, overrides: Sequence[str]) -> Document:
    keys: list[Key] = []
    for override in overrides:
        dotted, equals, text = override.partition("=")
        if not equals or not dotted.strip():
            raise MixtureError(f"the override {override!r} is not key=value, e.g. aggregator.temperature=0.2")
        value = from_text(text, MixtureError).data if text.strip() else None
        keys.append(_put(document, dotted.strip().split("."), value))
    if ("prompt",) in keys:
        # The text of the former prompt's file, in the mapping of a loaded mixture.
        document.data.pop("template", None)
    return replace(document, overridden=frozenset(keys))


def _put(document: Document, parts: list[str], value: object) -> Key:
    """Set a value deep inside the document's data; mappings on the way are made, list items are not."""
    key: Key = ()
    place = document.data
    for part in parts[:-1]:
        step = _step(place, part, (*key, part))
        key = (*key, step)
        if isinstance(place, dict) and place.get(step) is None:
            place[step] = {}
        place = place[step]
    step = _step(place, parts[-1], (*key, parts[-1]))
    place[step] = value
    return (*key, step)


def _step(place: object, part: str, key: Key) -> str | int:
    if isinstance(place, dict):
        return part
    dotted = ".".join(map(str, key))
    if not isinstance(place, list):
        raise MixtureError("nothing can be set here: the value above it has no keys", key=dotted)
    if not (part.isdecimal() and int(part) < len(place)):
        raise MixtureError(f"expected the number of an item from 0 to {len(place) - 1}, got {part!r}", key=dotted)
    return int(part)


def _with_template(mixture: Mixture, document: Document) -> Mixture:
    """The mixture with the text of its prompt's file, if it names one."""
    if mixture.prompt in _BUILT_IN_PROMPTS:
        return mixture
    # Jinja2 is imported by those who have a template only.
    from moa._mixture.templates import BadTemplate, check_template

    folder = document.path.parent if document.path else Path()
    path = folder / Path(mixture.prompt).expanduser()
    template = mixture.template if mixture.template is not None else _read_template(path, document)
    try:
        # Any number may arrive: a template that can't show some of them would fail after money was spent.
        check_template(template, set(range(1, 1 + max((3, *(layer.size for layer in mixture.layers))))))
    except BadTemplate as error:
        raise TemplateError(str(error), path=path, line=error.line) from error
    return mixture.model_copy(update={"template": template})


def _read_template(path: Path, document: Document) -> str:
    try:
        return read_file(path, MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TemplateError("the template is not UTF-8 text: save it as UTF-8", path=path) from error
    except OSError as error:
        name = str(document.data["prompt"])
        hint = did_you_mean(name, _BUILT_IN_PROMPTS) or ": use default, numbered, or the path of a template"
        raise document.failure(f"the file {path} can't be read ({os_reason(error)}){hint}", ("prompt",)) from error

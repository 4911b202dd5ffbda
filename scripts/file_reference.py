"""Writes the references of the mixture file and of moa.yaml, and the table of endpoints, from the code itself.

A test checks that all of them are current.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from moa._config.builtin_endpoints import BUILT_IN
from moa._config.schema import EndpointSettings, SettingsFile
from moa._mixture.loading import json_schema

DOCS = Path(__file__).parent.parent / "docs"

MIXTURE_FILE, SETTINGS_FILE, PROVIDERS = "reference/mixture-file.md", "reference/settings-file.md", "providers.md"

_WRITTEN = "<!-- Written by `python scripts/file_reference.py` from the code itself: change it there. -->\n"

_MIXTURE_HEAD = f"""\
# Mixture file

{_WRITTEN}
A mixture is one YAML file, or the same as a mapping in Python. The check is strict: an unknown key is an error that
names the line and the nearest known key. `moa mixtures check FILE` checks files, `moa mixtures schema` prints the JSON
Schema for editors, and `moa mixtures init FILE` writes a commented file to start from. [Mixtures](../mixtures.md)
explains what the keys are for.
"""

_SETTINGS_HEAD = f"""\
# Settings file

{_WRITTEN}
`moa.yaml` says where models are called. It is optional: the [usual endpoints](../providers.md) are built in. The first
of these that exists is read, and no other:

1. the file given by `--config`, or by `config=` in Python;
2. the file that the environment variable `MOA_CONFIG` names;
3. `moa.yaml` in the working folder;
4. `moa/moa.yaml` in the user's configuration folder (`$XDG_CONFIG_HOME`, `%APPDATA%`, else `~/.config`).

A file that merely lies in the working folder (3) may not send a built-in endpoint that carries your key to another
address: who puts a file into a folder does not own your keys. Keys themselves are never in the file; it names the
environment variables that hold them.

```yaml
defaults:                     # what commands take where their options say nothing
  mixture: bedrock-current      # or a mixture file, relative to this one, or a model reference
  judge: pairwise
  judge_model: openai/gpt-6-sol
endpoints:
  lab:
    kind: openai
    base_url: http://127.0.0.1:9000/v1
    api_key_env: LAB_KEY
    requests_per_minute: 600
    prices:
      my-model: {{input: 0.2, output: 0.8}}
  openai:                     # built in: only what is given here changes
    max_concurrency: 32
```
"""


def pages() -> dict[Path, str]:
    """Return every page that is written here, or part of which is, with its whole text."""
    return {
        DOCS / MIXTURE_FILE: "\n".join([_MIXTURE_HEAD, *_definitions(json_schema(), "The file")]),
        DOCS / SETTINGS_FILE: "\n".join([_SETTINGS_HEAD, *_definitions(SettingsFile.model_json_schema(), "The file")]),
        DOCS / PROVIDERS: _with_table((DOCS / PROVIDERS).read_text(encoding="utf-8"), "\n".join(_endpoints())),
    }


def _definitions(schema: Mapping[str, Any], title: str) -> Iterator[str]:
    """One section for the whole file and one for each kind of value in it, those of the file first."""
    definitions = schema.get("$defs", {})
    # Keys that a definition has from its base are described there.
    bases: dict[str, str] = {}
    for definition in definitions.values():
        bases |= _docstring(definition.get("description", ""))[1]
    yield from _section(title, schema, bases)
    for name in _by_use(schema, definitions):
        yield from _section(name, definitions[name], bases)


def _by_use(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[str]:
    """The names of the definitions in the order in which a reader meets them."""
    met: list[str] = []
    pending = [schema]
    while pending:
        properties = pending.pop(0)["properties"].values()
        for name in re.findall(r"#/\$defs/(\w+)", str(list(properties))):
            if name not in met:
                met.append(name)
                pending.append(definitions[name])
    return met


def _section(name: str, definition: Mapping[str, Any], bases: Mapping[str, str]) -> Iterator[str]:
    summary, about = _docstring(definition.get("description", ""))
    yield f"## {name}\n\n{_plain(summary)}\n\n| key | what it is | value | default |\n|---|---|---|---|"
    required = definition.get("required", ())
    for key, value in definition["properties"].items():
        default = "needed" if key in required else _default(value)
        yield f"| `{key}` | {_cell(_plain(about.get(key) or bases[key]))} | {_cell(_type(value))} | {default} |"
    yield ""


def _docstring(text: str) -> tuple[str, dict[str, str]]:
    """A docstring's first paragraph, and what it says of each attribute."""
    about = re.findall(r"^ +(\w+): (.*(?:\n {8,}.*)*)", text.partition("Attributes:")[2], re.MULTILINE)
    summary = " ".join(text.split("\n\n")[0].split())
    return summary, {name: " ".join(words.split()) for name, words in about}


def _plain(text: str) -> str:
    """Python's words in those of YAML."""
    return re.sub(r"\bNone\b", "not given", text)


_PLURAL = {"text": "texts", "reference": "references"}


def _type(value: Mapping[str, Any]) -> str:
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in value:
        return " or ".join(_type(one) for one in value["anyOf"] if one.get("type") != "null")
    if "enum" in value:
        return ", ".join(f"`{choice}`" for choice in value["enum"])
    match value.get("type"):
        case "array":
            return f"list of {_PLURAL.get(item := _type(value['items']), item)}"
        case "object" if isinstance(value.get("additionalProperties"), dict):
            return f"mapping of names to {_type(value['additionalProperties'])}"
        case "object":
            return "mapping"
        case "number" | "integer" as kind:
            return " ".join(filter(None, ("whole number" if kind == "integer" else "number", _bounds(value))))
        case "boolean":
            return "`true` or `false`"
    return "reference" if "/" in value.get("pattern", "") else "text"


def _bounds(value: Mapping[str, Any]) -> str:
    low, above = value.get("minimum"), value.get("exclusiveMinimum")
    high = value.get("maximum")
    if low is not None and high is not None:
        return f"from {low} to {high}"
    return f"from {low}" if low is not None else f"above {above}" if above is not None else ""


def _default(value: Mapping[str, Any]) -> str:
    default = value.get("default")
    match default:
        case None | "" | [] | {}:
            return ""
        case dict():
            return "as below"
        case bool():
            return f"`{str(default).lower()}`"
        case float():
            return f"`{default:g}`"
    return f"`{default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


_BEGIN, _END = "<!-- begin: endpoints, written by scripts/file_reference.py -->\n", "<!-- end: endpoints -->"


def _with_table(page: str, table: str) -> str:
    before, rest = page.split(_BEGIN)
    return f"{before}{_BEGIN}\n{table}\n\n{_END}{rest.split(_END)[1]}"


def _endpoints() -> Iterator[str]:
    yield "| endpoint | kind | address | key | prices |\n|---|---|---|---|---|"
    yield from (f"| `{name}` | `{given.kind}` | {' | '.join(_endpoint(given))} |" for name, given in BUILT_IN.items())


def _endpoint(given: EndpointSettings) -> tuple[str, str, str]:
    address = {"bedrock": "the region's own", "local": "in this process"}.get(given.kind or "", f"`{given.base_url}`")
    key = "the AWS credentials chain" if given.kind == "bedrock" else "none"
    prices = f"genai-prices, `{given.price_provider}`" if given.price_provider else "free"
    return address, f"`{given.api_key_env}`" if given.api_key_env else key, prices


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")

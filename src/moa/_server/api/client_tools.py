"""Tools that Anthropic defines and clients run, as functions for models that don't have their schemas built in.

Source: the tools' pages in Anthropic's documentation, https://platform.claude.com/docs/en/agents-and-tools/tool-use.
"""

from collections.abc import Mapping
from typing import Any

_TEXT, _NUMBER = {"type": "string"}, {"type": "integer"}
_RANGE = {"type": "array", "items": _NUMBER, "description": "First and last line, from 1; -1 is the end."}
_EDITING: Mapping[str, Any] = {
    "path": {"type": "string", "description": "Absolute path of a file or folder."},
    "view_range": _RANGE,
    "file_text": {"type": "string", "description": "For create: the whole text."},
    "old_str": {"type": "string", "description": "For str_replace: the text to replace, which must occur once."},
    "new_str": {"type": "string", "description": "For str_replace: the new text."},
    "insert_line": {"type": "integer", "description": "For insert: the line after which to insert, 0 for the top."},
    "insert_text": {"type": "string", "description": "For insert: the text to insert."},
}


def _schema(commands: str, properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    command = {"type": "string", "enum": commands.split()} if commands else _TEXT
    return {"type": "object", "properties": {"command": command, **properties}, "required": list(required)}


_TOOLS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "bash": (
        "Run a command in a bash session that stays open between calls.",
        _schema("", {"restart": {"type": "boolean", "description": "Begin a new session instead."}}),
    ),
    "text_editor": (
        "View, create and edit text files.",
        _schema("view create str_replace insert undo_edit", _EDITING, "command", "path"),
    ),
    "memory": (
        "Read and write files below /memories, which stay between conversations.",
        _schema(
            "view create str_replace insert delete rename",
            {**_EDITING, "old_path": _TEXT, "new_path": _TEXT},
            "command",
        ),
    ),
}


def description_and_schema(kind: str) -> tuple[str, dict[str, Any]] | None:
    """Return the description and the schema of a tool; None for a type that is no such tool.

    Args:
        kind: The tool's type, e.g. `bash_20250124`.
    """
    return _TOOLS.get(kind.rpartition("_")[0])

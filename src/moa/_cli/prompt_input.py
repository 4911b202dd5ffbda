"""The prompt of a command: words of the command line, standard input, or both."""

from collections.abc import Sequence
from typing import TextIO

from moa.errors import UsageError


def read_prompt(words: Sequence[str], stdin: TextIO) -> str:
    """Return the prompt made of words and standard input; a word `-` stands for all of standard input.

    Adjacent words are joined by spaces; blank lines separate them from standard input. Without any word, the prompt is
    standard input. Standard input is read only if requested, so that a surrounding loop or daemon keeps its own.

    Raises:
        UsageError: There is no prompt and standard input is a terminal or not text, or the prompt is blank.
    """
    if not words and stdin.isatty():
        raise UsageError('give a prompt: moa ask "What are 3 fun things to do in San Francisco?"')
    parts: list[str] = []
    joined: list[str] = []
    for word in words or ("-",):
        if word == "-":
            parts += [" ".join(joined), _read(stdin).strip("\n")]
            joined = []
        else:
            joined.append(word)
    prompt = "\n\n".join(part for part in (*parts, " ".join(joined)) if part.strip())
    if not prompt:
        raise UsageError("the prompt is empty: write one")
    if not _is_text(prompt):
        raise UsageError("the prompt is not UTF-8 text")
    return prompt


def _is_text(text: str) -> bool:
    """Whether a text has no undecodable bytes, which Python passes through in command-line arguments."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read(stdin: TextIO) -> str:
    try:
        return stdin.read()
    except UnicodeDecodeError as error:
        raise UsageError(f"standard input is not {error.encoding} text") from error

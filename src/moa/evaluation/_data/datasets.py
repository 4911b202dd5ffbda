"""Prompts to evaluate on: AlpacaEval's, the user's own, or the starter set that comes with the package."""

import hashlib
import json
import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from moa._messages import Message
from moa._runtime.prompt_rows import ANSWER_COLUMNS, PROMPT_COLUMNS, answers_in, asked_in, text_of
from moa.errors import EvaluationDataError, UsageError
from moa.evaluation._data.huggingface import hub_file
from moa.evaluation._data.rows import FORMATS, read_rows

ALPACA_EVAL = "alpaca_eval"
STARTER = "starter"

REFERENCE_COLUMNS = (
    *("reference", "ideal", "target", "expected", "expected_output", "expectedOutput", "ground_truth"),
    *("referenceResponse", *ANSWER_COLUMNS),
)
"""Columns in which a row may have a right answer, ours and those of `DATASET_COLUMNS`; the first one counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One prompt.

    Attributes:
        index: Its place in the whole dataset, from 0; sampling keeps it.
        prompt: Text of one user turn, or a whole conversation.
        category: What kind of prompt it is, if known; AlpacaEval's `dataset`.
        reference: An answer that somebody gave, if there is one; of several the first.
        dataset: What it belongs to, as AlpacaEval's files say it.
        known_key: Its key where only the text of the prompt is known any more; else empty.
        row: Whatever else its row has, for measures: `reference`, `choices`, `schema` …
    """

    index: int
    prompt: str | tuple[Message, ...]
    category: str | None = None
    reference: str | None = None
    dataset: str = ""
    known_key: str = ""
    row: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @property
    def key(self) -> str:
        """What tells the prompt from others wherever it stands: a digest of its content."""
        return (
            self.known_key
            or hashlib.blake2b(repr(self.prompt).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        )

    @property
    def text(self) -> str:
        """The prompt as one text: what files in AlpacaEval's format hold as `instruction`."""
        return text_of(self.prompt)


def load_instructions(
    source: str | Path | Sequence[str | Mapping[str, Any]],
    *,
    data_dir: Path | None = None,
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
) -> tuple[Instruction, ...]:
    """Return the prompts to evaluate on.

    Args:
        source: `alpaca_eval` (the 805 of the Hugging Face hub's tatsu-lab/alpaca_eval), `starter` (40 prompts that come
            with the package), the path of a JSON, JSON Lines, CSV or Parquet file, or the rows themselves; all but
            Parquet may be packed by gzip. A row is a prompt, or has `prompt`, `instruction` or `messages`, maybe
            `category` (or `dataset`) and `reference`; or it has the columns of a public dataset or of another tool
            (`DATASET_COLUMNS`, `REFERENCE_COLUMNS`). A conversation that ends with an answer is one without it, whose
            reference it is.
        data_dir: A folder with the hub's `alpaca_eval.json`, to be read in place of the hub.
        limit: Only the first so many.
        sample: Only so many of these, drawn at random and spread over the categories as evenly as in the whole.
        seed: Of the sample.

    Returns:
        At least one, in the dataset's order.

    Raises:
        EvaluationDataError: The file can't be read or holds no prompts, or the hub can't be reached.
        UsageError: There is no such dataset, or a number makes no sense.
    """
    for option, number in (("--limit", limit), ("--sample", sample)):
        if number is not None and number < 1:
            raise UsageError(f"{option} is a number from 1, not {number}")
    instructions = _load(source, data_dir)[:limit]
    return instructions if sample is None or sample >= len(instructions) else stratified(instructions, sample, seed)


def _load(source: str | Path | Sequence[str | Mapping[str, Any]], data_dir: Path | None) -> tuple[Instruction, ...]:
    if source == ALPACA_EVAL:
        path = data_dir / "alpaca_eval.json" if data_dir else hub_file("alpaca_eval.json")
        return _instructions(read_rows(path), path, ALPACA_EVAL)
    if source == STARTER:
        text = files("moa.evaluation._data").joinpath("starter.json").read_text(encoding="utf-8")
        return _instructions(json.loads(text), None, STARTER)
    if not isinstance(source, str | Path):
        return _instructions(source, None, "")
    path = Path(source).expanduser()
    if not path.is_file():
        known = f"{ALPACA_EVAL}, {STARTER}, or the path of a file ending in {', '.join(FORMATS)}"
        raise UsageError(f"there is no dataset and no file {str(source)!r}: give {known}")
    return _instructions(read_rows(path), path, path.name.split(".")[0])


def _instructions(rows: Sequence[Any], path: Path | None, name: str) -> tuple[Instruction, ...]:
    if not rows:
        raise EvaluationDataError("holds no prompt", path=path)
    return tuple(_instruction(row, index, path, name) for index, row in enumerate(rows))


def _instruction(row: Any, index: int, path: Path | None, name: str) -> Instruction:
    values = {"prompt": row} if isinstance(row, str) else row
    if not isinstance(values, Mapping):
        raise EvaluationDataError("expected a prompt or an object with one", path=path, row=index + 1)
    try:
        prompt, answered = asked_in(values)
    except UsageError as error:
        raise EvaluationDataError(str(error), path=path, row=index + 1) from error
    rest = {key: value for key, value in values.items() if key not in PROMPT_COLUMNS}
    references = _references(values) or answered
    if references and values.get("reference") in (None, ""):
        rest["reference"] = references if len(references) > 1 else references[0]
    dataset = _text(values, "dataset")
    return Instruction(
        index=index,
        prompt=prompt,
        category=_text(values, "category") or dataset,
        reference=references[0] if references else None,
        dataset=dataset or name,
        row=rest,
    )


def _references(values: Mapping[str, Any]) -> list[str]:
    """The right answers of a row, any of which will do; an output with a generator's name is what some model wrote."""
    is_generated = bool(values.get("generator"))
    return answers_in(values, [name for name in REFERENCE_COLUMNS if not (is_generated and name == "output")])


def _text(values: Mapping[str, Any], key: str) -> str | None:
    value = values.get(key)
    return None if value is None or value == "" else str(value)


def stratified(instructions: Sequence[Instruction], size: int, seed: int) -> tuple[Instruction, ...]:
    """Return a random sample in which every category has its share, in the dataset's order.

    Args:
        instructions: Of all categories.
        size: How many, at most all.
        seed: The same seed gives the same sample.

    Source:
        Proportional allocation with the largest remainders (Hamilton's method); ties are drawn.
    """
    groups: defaultdict[str, list[Instruction]] = defaultdict(list)
    for instruction in instructions:
        groups[instruction.category or ""].append(instruction)
    drawing = random.Random(f"sample/{seed}")
    shares = {name: size * len(group) / len(instructions) for name, group in groups.items()}
    sizes = {name: math.floor(share) for name, share in shares.items()}
    order = sorted(groups, key=lambda name: (sizes[name] - shares[name], drawing.random()))
    for name in order[: size - sum(sizes.values())]:
        sizes[name] += 1
    drawn = [one for name, group in groups.items() for one in drawing.sample(group, sizes[name])]
    return tuple(sorted(drawn, key=lambda one: one.index))


def digest(instructions: Sequence[Instruction]) -> str:
    """Return the SHA-256 of the prompts in their order, in hexadecimal digits."""
    return hashlib.sha256(repr([(one.index, one.prompt) for one in instructions]).encode()).hexdigest()


def without_white_space(text: str) -> str:
    """Return a prompt's text without the white space around it and with plain line ends, as programs change both."""
    return "\n".join(text.splitlines()).strip()

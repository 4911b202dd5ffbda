"""The prompts of an evaluation, one by one, with outputs, proposals and verdicts side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moa.evaluation.annotations import DRAW
from moa.evaluation.judge_record import is_flipped
from moa.evaluation.summary import Collected, Evaluated
from moa.evaluation.text_signs import leaks, looks_cut_off, refuses


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One text of a prompt: an output or a proposal.

    Attributes:
        name: Whose it is.
        text: As it is; the template escapes it.
        notes: What is to be said of it.
    """

    name: str
    text: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One prompt as the browser shows it.

    Attributes:
        index: Its index.
        instruction: Its text.
        category: Empty if unknown.
        verdict: `win`, `lose`, `draw`, `missing`, or empty where nothing was judged; of the mixture.
        preference: Probability 0-1 that the mixture wins, in percent; empty if missing.
        reasons: What the judge wrote.
        flags: Filters that apply: `flip`, `leak`, `cut`, `refusal`, `empty`.
        main: The mixture's and the opponent's outputs.
        others: Those of the other systems.
        proposals: What the mixture was made from.
    """

    index: int
    instruction: str
    category: str
    verdict: str
    preference: str
    reasons: tuple[str, ...]
    flags: tuple[str, ...]
    main: tuple[Shown, ...]
    others: tuple[Shown, ...]
    proposals: tuple[Shown, ...]


def prompts(evaluation: Collected) -> tuple[Prompt, ...]:
    """Return the prompts that the first system was asked, in their order."""
    mixture, *rest = evaluation.systems
    rows = {_index(row, number): row for number, row in enumerate(mixture.rows)}
    return tuple(
        _prompt(index, mixture, rest, rows.get(index), evaluation.opponent) for index in sorted(mixture.outputs)
    )


def _prompt(
    index: int, mixture: Evaluated, rest: Sequence[Evaluated], row: Mapping[str, Any] | None, opponent: str | None
) -> Prompt:
    output = mixture.outputs[index]
    shown = {system.name: _shown(system, index) for system in (mixture, *rest) if index in system.outputs}
    main = tuple(shown.pop(name) for name in (mixture.name, opponent) if name in shown)
    preference = None if row is None else row.get("preference")
    return Prompt(
        index=index,
        instruction=output.instruction,
        category=output.dataset or "",
        verdict=_verdict(preference, judged=row is not None),
        preference="" if preference is None else f"{100 * ((preference or DRAW) - 1):.0f} %",
        reasons=_reasons(row),
        flags=_flags(output.output, output.instruction, row),
        main=main,
        others=tuple(shown.values()),
        proposals=_proposals(mixture, index),
    )


def _shown(system: Evaluated, index: int) -> Shown:
    output, record = system.outputs[index], system.records.get(index)
    notes = [f"{len(output.output):,} characters"]
    if output.seconds is not None:
        notes.append(f"{output.seconds:.1f} s")
    if record is not None and record.cost_usd:
        notes.append(f"${record.cost_usd:.2g}")
    if output.error is not None:
        notes.append(output.error)
    return Shown(name=system.name, text=output.output, notes=tuple(notes))


def _proposals(mixture: Evaluated, index: int) -> tuple[Shown, ...]:
    record = mixture.records.get(index)
    if record is None:
        return ()
    return tuple(
        Shown(
            name=f"layer {layer['layer']}: {one['agent']}",
            text=one["text"],
            notes=(one["status"], f"{one['duration_s']:.1f} s"),
        )
        for layer in record.layers
        for one in layer["proposals"]
    )


def _verdict(preference: float | None, *, judged: bool) -> str:
    if preference is None:
        return "missing" if judged else ""
    if preference in (0, DRAW):
        return "draw"
    return "win" if preference > DRAW else "lose"


def _reasons(row: Mapping[str, Any] | None) -> tuple[str, ...]:
    # Log probabilities say nothing to a reader; the preference does.
    raw = () if row is None else row.get("raw_completion") or ()
    texts = (raw,) if isinstance(raw, str) else raw if isinstance(raw, list | tuple) else ()
    return tuple(text for text in texts if isinstance(text, str) and not text.startswith('[{"token"'))


def _flags(output: str, instruction: str, row: Mapping[str, Any] | None) -> tuple[str, ...]:
    found = {
        "flip": row is not None and is_flipped(row) is True,
        "leak": leaks(output, instruction),
        "cut": looks_cut_off(output),
        "refusal": refuses(output),
        "empty": not output.strip(),
    }
    return tuple(name for name, applies in found.items() if applies)


def _index(row: Mapping[str, Any], number: int) -> int:
    index = row.get("index")
    return index if isinstance(index, int) else number

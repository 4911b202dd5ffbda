"""The prompts of an evaluation, one by one, with outputs, proposals and verdicts side by side."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from moa.evaluation._analysis.collected import Collected, Evaluated, Texts
from moa.evaluation._analysis.output_issues import is_cut_off
from moa.evaluation._analysis.text_heuristics import leaks, refuses
from moa.evaluation._data.annotations import Judgement
from moa.evaluation._runner.records import AnswerTrace, Record

MOST_CHARS = 10_000_000
"""Characters of outputs and proposals that a page may hold, about: browsers open larger ones slowly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownText:
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
        reasons: What the judge wrote, each named by who was shown as A and as B where that is known.
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
    reasons: tuple[ShownText, ...]
    flags: tuple[str, ...]
    main: tuple[ShownText, ...]
    others: tuple[ShownText, ...]
    proposals: tuple[ShownText, ...]


def prompts(evaluation: Collected, texts: Texts) -> tuple[Prompt, ...]:
    """Return the prompts that the first system was asked, in their order, as many as a browser can bear.

    All outputs are in the run's folder; see `MOST_CHARS`.
    """
    found, chars = list[Prompt](), 0
    places = {
        one.name: {index: row for row, index in enumerate(one.verdicts.index.tolist())}
        for one in evaluation.systems
        if one.verdicts is not None
    }
    for row in np.flatnonzero(evaluation.candidate.answers.is_there).tolist():
        prompt = _prompt(row, evaluation, places, texts)
        found.append(prompt)
        chars += sum(len(shown.text) for shown in (*prompt.main, *prompt.others, *prompt.proposals))
        if chars > MOST_CHARS:
            break
    return tuple(found)


def _prompt(row: int, evaluation: Collected, places: Mapping[str, Mapping[int, int]], texts: Texts) -> Prompt:
    mixture, instruction = evaluation.candidate, evaluation.instructions[row]
    index, shown = instruction.index, dict[str, ShownText]()
    records = texts.records([one.name for one in evaluation.systems], index)
    for system in evaluation.systems:
        if system.name in records:
            verdict = "" if system is mixture else _verdict(system, places.get(system.name, {}).get(index))
            shown[system.name] = _shown(records[system.name], verdict)
    main = tuple(shown.pop(name) for name in (mixture.name, evaluation.opponent) if name in shown)
    place = places.get(mixture.name, {}).get(index)
    verdict, _, preference = _verdict(mixture, place).partition(" ")
    judgement = texts.judgements((mixture.name,), records).get(mixture.name)
    return Prompt(
        index=index,
        instruction=instruction.text,
        category=instruction.category or instruction.dataset,
        verdict=verdict,
        preference=preference,
        reasons=_reasons(judgement),
        flags=_flags(records[mixture.name], instruction.text, judgement),
        main=main,
        others=tuple(shown.values()),
        proposals=_proposals(texts.trace(mixture.name, index)),
    )


def _shown(record: Record, verdict: str) -> ShownText:
    notes = [verdict] if verdict else []
    notes.append(f"{len(record.output):,} characters")
    if record.seconds is not None:
        notes.append(f"{record.seconds:.1f} s")
    if record.cost_usd:
        notes.append(f"${record.cost_usd:.2g}")
    if record.error is not None:
        notes.append(f"{record.error['code']}: {record.error['message']}")
    return ShownText(name=record.system, text=record.output, notes=tuple(notes))


def _proposals(trace: AnswerTrace) -> tuple[ShownText, ...]:
    return tuple(
        ShownText(
            name=f"layer {layer.number}: {one.agent}",
            text=one.text,
            notes=(one.status, f"{one.duration_s:.1f} s"),
        )
        for layer in trace.layers
        for one in layer.roster
    )


def _verdict(system: Evaluated, place: int | None) -> str:
    """What was said of an output, and the probability that it wins; empty where nothing was judged."""
    if system.verdicts is None or place is None:
        return ""
    won = float(system.verdicts.won[place])
    if math.isnan(won):
        return "missing"
    return f"{'draw' if won == 0.5 else 'win' if won > 0.5 else 'lose'} {100 * won:.0f}%"


def _reasons(row: Judgement | None) -> tuple[ShownText, ...]:
    raw = () if row is None else row.raw_completion or ()
    texts = (raw,) if isinstance(raw, str) else raw if isinstance(raw, list | tuple) else ()
    # Log probabilities say nothing to a reader; the preference does.
    return tuple(
        ShownText(name=_sides(row, number), text=text)
        for number, text in enumerate(texts)
        if isinstance(text, str) and not text.startswith('[{"token"')
    )


def _sides(row: Judgement | None, number: int) -> str:
    """Who is A and who is B in what a judge wrote, where it was shown both orders, the baseline first at first."""
    if row is None or len(row.orders) != 2:
        return ""
    names = [row.generator_1, row.generator_2]
    first, second = reversed(names) if number % 2 else names
    return f"A: {first}, B: {second}"


def _flags(record: Record, instruction: str, row: Judgement | None) -> tuple[str, ...]:
    found = {
        "flip": row is not None and row.flipped is True,
        "leak": leaks(record.output, instruction),
        "cut": is_cut_off(record),
        "refusal": refuses(record.output),
        "empty": not record.output.strip(),
    }
    return tuple(name for name, applies in found.items() if applies)

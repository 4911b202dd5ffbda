"""The prompts of an evaluation, one by one, with outputs, proposals and verdicts side by side."""

from collections.abc import Mapping
from dataclasses import dataclass

from moa.evaluation._analysis.collected import Collected, Evaluated
from moa.evaluation._analysis.output_issues import is_cut_off
from moa.evaluation._analysis.text_heuristics import leaks, refuses
from moa.evaluation._data.annotations import DRAW, Judgement
from moa.evaluation._data.outputs import Output
from moa.evaluation._runner.records import AnswerTrace

MOST_CHARS = 10_000_000
"""Characters of outputs and proposals that a page may hold, about: browsers open larger ones slowly."""

_NO_TRACE = AnswerTrace()


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


def prompts(evaluation: Collected) -> tuple[Prompt, ...]:
    """Return the prompts that the first system was asked, in their order, as many as a browser can bear.

    All outputs are in the run's folder; see `MOST_CHARS`.
    """
    rows = {one.name: {row.index or 0: row for row in one.annotations} for one in evaluation.systems}
    traces, found, chars = evaluation.candidate.traces(), list[Prompt](), 0
    for index in sorted(evaluation.candidate.outputs):
        prompt = _prompt(index, evaluation, rows, traces.get(index, _NO_TRACE))
        found.append(prompt)
        chars += sum(len(shown.text) for shown in (*prompt.main, *prompt.others, *prompt.proposals))
        if chars > MOST_CHARS:
            break
    return tuple(found)


def _prompt(
    index: int, evaluation: Collected, rows: Mapping[str, Mapping[int, Judgement]], trace: AnswerTrace
) -> Prompt:
    mixture = evaluation.candidate
    output, row = mixture.outputs[index], rows[mixture.name].get(index)
    shown = {
        system.name: _shown(system, index, None if system is mixture else rows[system.name].get(index))
        for system in evaluation.systems
        if index in system.outputs
    }
    main = tuple(shown.pop(name) for name in (mixture.name, evaluation.opponent) if name in shown)
    return Prompt(
        index=index,
        instruction=output.instruction,
        category=output.dataset or "",
        verdict=_verdict(row),
        preference=_percent(row),
        reasons=_reasons(row),
        flags=_flags(output, row),
        main=main,
        others=tuple(shown.values()),
        proposals=_proposals(trace),
    )


def _shown(system: Evaluated, index: int, row: Judgement | None) -> ShownText:
    output, record = system.outputs[index], system.records.get(index)
    notes = [] if row is None else [f"{_verdict(row)} {_percent(row)}".strip()]
    notes.append(f"{len(output.output):,} characters")
    if output.seconds is not None:
        notes.append(f"{output.seconds:.1f} s")
    if record is not None and record.cost_usd:
        notes.append(f"${record.cost_usd:.2g}")
    if output.error is not None:
        notes.append(output.error)
    return ShownText(name=system.name, text=output.output, notes=tuple(notes))


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


def _verdict(row: Judgement | None) -> str:
    if row is None:
        return ""
    if row.preference is None:
        return "missing"
    if row.preference in (0, DRAW):
        return "draw"
    return "win" if row.preference > DRAW else "lose"


def _percent(row: Judgement | None) -> str:
    return "" if row is None or row.preference is None else f"{100 * ((row.preference or DRAW) - 1):.0f}%"


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


def _flags(output: Output, row: Judgement | None) -> tuple[str, ...]:
    found = {
        "flip": row is not None and row.flipped is True,
        "leak": leaks(output.output, output.instruction),
        "cut": is_cut_off(output),
        "refusal": refuses(output.output),
        "empty": not output.output.strip(),
    }
    return tuple(name for name, applies in found.items() if applies)

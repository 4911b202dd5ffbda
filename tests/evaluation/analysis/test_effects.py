from contextlib import nullcontext
from typing import Any

from moa.evaluation._analysis.collected import Collected, Evaluated
from moa.evaluation._analysis.effects import Effect, effect
from moa.evaluation._data.annotations import Judgement
from moa.evaluation._data.datasets import Instruction
from moa.evaluation._metrics.verdicts import verdicts_of
from moa.evaluation._runner.records import AnswerColumns, Record
from tests.support.evaluations import GivenTexts

GOOD = [1.9, 1.8, 2.0, 1.7] * 10
BAD = [1.1, 1.3, 1.0, 1.2] * 10
TEXT = "the quick brown fox jumps over the lazy dog"


def side(name: str, preferences: list[float]) -> Evaluated:
    annotations = [
        Judgement(
            instruction=f"q{n}",
            output_1="w" * (5 * n % 19),
            output_2="w" * (7 * n % 23),
            generator_1="big",
            generator_2=name,
            preference=preference,
        )
        for n, preference in enumerate(preferences)
    ]
    answers = AnswerColumns.of(records(name, TEXT, len(preferences) or 3))
    verdicts = verdicts_of(annotations) if annotations else None
    return Evaluated(name=name, role="mixture", answers=answers, verdicts=verdicts)


def records(name: str, text: str, prompts: int) -> list[Record]:
    return [Record(system=name, index=n, status="complete", output=text) for n in range(prompts)]


def found(
    mine: list[float], theirs: list[float], *, other_text: str = TEXT, leaves_out: bool = True, **options: Any
) -> Effect:
    mixture, other, prompts = side("mix", mine), side("mix.other", theirs), len(mine) or 3
    texts = GivenTexts(records("mix", TEXT, prompts), records("mix.other", other_text, prompts))
    evaluation = Collected(
        systems=(mixture, other),
        instructions=[Instruction(index=n, prompt=f"q{n}") for n in range(prompts)],
        reading=lambda: nullcontext(texts),
        about="mix",
        opponent="big",
        judge="judge",
        comparable=False,
        warnings=(),
        how={},
    )
    return effect(mixture, other, evaluation, texts, leaves_out=leaves_out, **options)


def test_a_proposer_without_which_the_mixture_is_worse_helps() -> None:
    helps, harms = found(GOOD, BAD), found(BAD, GOOD)

    assert helps.difference is not None
    assert helps.difference.interval.low > 0
    assert "That proposer helps." in helps.sentence
    assert "That proposer harms: leave it out." in harms.sentence


def test_an_interval_about_nothing_shows_no_effect() -> None:
    assert "No effect is shown." in found(GOOD, GOOD[2:] + GOOD[:2]).sentence


def test_an_order_that_moves_the_win_rate_is_said_to_matter() -> None:
    assert "The order of proposals matters." in found(GOOD, BAD, leaves_out=False).sentence


def test_intervals_of_several_proposers_are_wider_as_they_hold_at_once() -> None:
    widths = []
    for of in (1, 5):
        difference = found(GOOD, BAD, of=of).difference
        assert difference is not None
        widths.append(difference.interval.high - difference.interval.low)

    assert widths[0] < widths[1]


def test_of_a_judge_that_cannot_tell_no_difference_is_taken() -> None:
    told = found(GOOD, BAD, is_compared=False)

    assert told.difference is None
    assert "the judge can't tell them apart." in told.sentence


def test_answers_that_differ_are_counted_without_verdicts_too() -> None:
    told = found([], [], other_text="something else entirely that shares no words with it", leaves_out=False)

    assert (told.difference, told.changed, told.n) == (None, 3, 3)
    assert told.sentence == (
        "mix.other: too little is judged to compare it with mix. 3 of 3 answers differ materially."
    )

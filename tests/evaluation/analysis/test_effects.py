from moa.evaluation._analysis.collected import Evaluated
from moa.evaluation._analysis.effects import Effect, effect
from moa.evaluation._data.annotations import Judgement
from moa.evaluation._runner.records import Record

GOOD = [1.9, 1.8, 2.0, 1.7] * 10
BAD = [1.1, 1.3, 1.0, 1.2] * 10
TEXT = "the quick brown fox jumps over the lazy dog"


def side(name: str, preferences: list[float], text: str = TEXT) -> Evaluated:
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
    records = {n: Record(system=name, index=n, status="complete", output=text) for n in range(len(preferences) or 3)}
    return Evaluated(name=name, role="mixture", records=records, outputs={}, annotations=annotations)


def found(mine: list[float], theirs: list[float], *, leaves_out: bool = True, of: int = 1) -> Effect:
    return effect(side("mix", mine), side("mix.other", theirs), leaves_out=leaves_out, of=of)


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
    told = effect(side("mix", GOOD), side("mix.other", BAD), leaves_out=True, is_compared=False)

    assert told.difference is None
    assert "the judge can't tell them apart." in told.sentence


def test_answers_that_differ_are_counted_without_verdicts_too() -> None:
    other = side("mix.shuffled", [], "something else entirely that shares no words with it")

    told = effect(side("mix", []), other, leaves_out=False)

    assert (told.difference, told.changed, told.n) == (None, 3, 3)
    assert told.sentence == (
        "mix.shuffled: too little is judged to compare it with mix. 3 of 3 answers differ materially."
    )

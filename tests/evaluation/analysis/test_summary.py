from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np

from moa._mixture.loading import single
from moa.evaluation._analysis.collected import Collected, Evaluated
from moa.evaluation._analysis.summary import summarize
from moa.evaluation._data.annotations import Judgement
from moa.evaluation._data.datasets import Instruction
from moa.evaluation._metrics.stopping import Settlement
from moa.evaluation._metrics.verdicts import verdicts_of
from moa.evaluation._runner.records import AnswerColumns, Record
from tests.support.evaluations import GivenTexts


def system(name: str, role: str, preferences: list[float | None], opponent: str = "third") -> Evaluated:
    annotations = [
        Judgement(
            index=n,
            instruction=f"q{n}",
            output_1="w" * (100 + 5 * n % 19),
            output_2="w" * (100 + 7 * n % 23),
            generator_1=opponent,
            generator_2=name,
            preference=preference,
            orders=(preference, preference),
        )
        for n, preference in enumerate(preferences)
    ]
    mixture = single("fake/model") if role in ("member", "aggregator") else None
    answers = answered(Record(system=name, index=n, status="complete") for n in range(len(preferences)))
    return Evaluated(name=name, role=role, mixture=mixture, answers=answers, verdicts=verdicts_of(annotations))


def answered(records: Iterable[Record]) -> AnswerColumns:
    by_index = {one.index: one for one in records}
    return AnswerColumns.of(by_index.get(n) for n in range(PROMPTS))


def collected(*systems: Evaluated, opponent: str | None = "third", **fields: Any) -> Collected:
    values: dict[str, Any] = {"judge": "judge", "comparable": False, "warnings": (), "how": {}, **fields}
    values |= {"instructions": [Instruction(index=n, prompt=f"q{n}") for n in range(PROMPTS)]}
    values |= {"reading": lambda: nullcontext(GivenTexts())}
    return Collected(systems=systems, about=systems[0].name, opponent=opponent, **values)


MIXED = [1.0, 2.0, 1.9, 1.95, 1.8] * 8
PROMPTS = 400
THIRD = Evaluated(name="third", role="reference", answers=AnswerColumns.empty(PROMPTS))


def test_verdicts_that_are_all_equal_are_judged_by_an_interval_that_holds_for_them() -> None:
    found = summarize(collected(system("mix", "mixture", [2.0] * 40), THIRD))

    assert found.conclusion.sentence.startswith("Your call: ")
    assert "mix is better than third" in found.conclusion.sentence
    assert "win rate 100.0%, 95% interval " in found.conclusion.proof


def test_mixture_and_baseline_judged_against_a_third_are_compared_by_their_difference() -> None:
    known = MIXED * 4
    better = [min(2.0, preference + 0.01 * (n % 3)) for n, preference in enumerate(known)]

    found = summarize(
        collected(system("mix", "mixture", better), system("big", "baseline", known), THIRD, baseline="big")
    )

    assert "mix is as good as big to within 3 points" in found.conclusion.sentence
    assert "points against big's, 95% interval -" in found.conclusion.proof
    assert found.conclusion.advice == "your call", "what it costs is not known"


def test_a_baseline_that_nobody_has_judged_yet_leaves_it_undecided() -> None:
    big = Evaluated(name="big", role="baseline", answers=AnswerColumns.empty(PROMPTS))

    found = summarize(collected(system("mix", "mixture", MIXED), big, THIRD, baseline="big"))

    assert found.conclusion.sentence == "Undecided: nothing has judged mix yet."


def test_the_best_member_is_named_with_how_many_it_was_picked_from() -> None:
    members = [system(f"member {n}", "member", [p if n else 3.0 - p for p in MIXED]) for n in (0, 1, 2)]

    found = summarize(collected(system("mix", "mixture", MIXED), *members, THIRD))

    assert found.best_member is not None
    assert found.best_member.of == 3
    assert "member 0" not in found.best_member.sentence
    assert " of 3, picked on other prompts than those that its figures come from)" in found.best_member.sentence


def priced(one: Evaluated, usd: float) -> Evaluated:
    def record(index: int) -> Record:
        return Record(system=one.name, index=index, status="complete", output="x", cost_usd=usd)

    return replace(one, answers=answered(map(record, range(one.answers.asked))))


def test_a_mixture_whose_aggregator_alone_is_as_good_and_cheaper_is_not_to_be_used() -> None:
    good, better = [1.2, 2.0, 1.9, 1.95, 1.8] * 40, [1.9, 2.0, 1.99, 2.0, 2.0] * 40
    mixture = priced(system("mix", "mixture", good), 0.4)
    alone, member = system("mix.aggregator", "aggregator", better), system("small", "member", MIXED * 5)

    found = summarize(collected(mixture, priced(alone, 0.1), priced(member, 0.01), _priced_third(200)))
    without = summarize(collected(mixture, _priced_third(200)))

    assert without.conclusion.advice == "use"
    assert without.conclusion.system == "mix"
    assert found.best_member is not None
    assert (found.best_member.name, found.best_member.of) == ("mix.aggregator", 2)
    assert found.conclusion.system == "mix.aggregator"
    assert found.conclusion.sentence.startswith("Use aggregator alone, not the mixture: it is better than mix at 25%")


def _priced_third(prompts: int) -> Evaluated:
    records = (Record(system="third", index=n, status="complete", output="x", cost_usd=1.0) for n in range(prompts))
    return replace(THIRD, answers=answered(records))


def test_times_out_of_a_file_are_said_to_be_measured_elsewhere() -> None:
    def timed(one: Evaluated, seconds: float) -> Evaluated:
        records = (
            Record(system=one.name, index=n, status="complete", output="x", seconds=seconds)
            for n in range(one.answers.asked)
        )
        return replace(one, answers=answered(records))

    mixture, baseline = timed(system("mix", "mixture", MIXED), 1.0), timed(system("big", "baseline", MIXED), 4.0)

    filed = summarize(collected(mixture, replace(baseline, is_precomputed=True), opponent="big"))
    measured = summarize(collected(mixture, baseline, opponent="big"))

    assert "25% of its latency, as a file tells it," in filed.conclusion.sentence
    assert any("The times of big come out of a file" in one for one in filed.warnings)
    assert "as a file tells it" not in measured.conclusion.sentence
    assert not any("come out of a file" in one for one in measured.warnings)


def test_what_there_is_too_little_of_is_said() -> None:
    mixture = system("mix", "mixture", MIXED)
    failed = Record(system="mix", index=0, status="failed", error={"code": "empty", "message": "no text"})

    found = summarize(collected(replace(mixture, answers=answered([failed])), THIRD, planned=60))

    assert "; 40 of 60 prompts" in found.conclusion.proof
    assert "Only 40 of 60 prompts are judged so far: the same command goes on." in found.warnings
    assert any(one.startswith("40 prompts are few") for one in found.warnings)
    assert "mix: 1 of 1 answers failed (empty)." in found.warnings


def test_categories_that_are_too_small_are_not_passed_over_in_silence() -> None:
    def by(size: int) -> Evaluated:
        mixture = system("mix", "mixture", MIXED)
        assert mixture.verdicts is not None
        category = np.array([f"c{n // size}" for n in range(len(mixture.verdicts))], dtype=np.object_)
        return replace(mixture, verdicts=replace(mixture.verdicts, category=category))

    small, large = (summarize(collected(by(size), THIRD)).warnings for size in (4, 20))

    assert any(one.startswith("No category has enough prompts") for one in small)
    assert not any(one.startswith("No category") for one in large)


def test_missing_verdicts_and_another_judge_are_warned_of() -> None:
    mixture = system("mix", "mixture", [None, *MIXED])
    warnings = summarize(collected(mixture, THIRD)).warnings

    assert "Verdicts are missing: 1 of 41 for mix; what is missing counts for neither side." in warnings
    assert any("not the leaderboard's" in warning for warning in warnings)


def test_a_rank_is_given_only_for_the_leaderboards_judge_and_baseline() -> None:
    mixture, board = system("mix", "mixture", MIXED, "gpt4_1106_preview"), {"a": 99.0, "b": 1.0}
    third = Evaluated(name="gpt4_1106_preview", role="baseline", answers=AnswerColumns.empty(PROMPTS))

    official = summarize(collected(mixture, third, opponent="gpt4_1106_preview", comparable=True), board=board)
    other = summarize(collected(mixture, third, opponent="gpt4_1106_preview"), board=board)

    assert official.systems[0].rank is not None
    assert (official.systems[0].rank.place, official.systems[0].rank.of) == (2, 2)
    assert other.systems[0].rank is None


def _lengths(shorter_by: list[int]) -> Evaluated:
    annotations = [
        Judgement(
            instruction=f"q{n}",
            output_1="w" * 3000,
            output_2="w" * (3000 - difference),
            generator_1="third",
            generator_2="mix",
            preference=MIXED[n % 40],
        )
        for n, difference in enumerate(shorter_by)
    ]
    answers = answered(Record(system="mix", index=n, status="complete") for n in range(len(annotations)))
    return Evaluated(name="mix", role="mixture", answers=answers, verdicts=verdicts_of(annotations))


def test_length_that_cannot_be_told_from_quality_is_the_first_sentence() -> None:
    longer, both = [-1500 - 7 * (n * n % 31) for n in range(80)], [800 * (-1) ** n - 13 * n for n in range(80)]

    apart, equal, mixed = (summarize(collected(_lengths(one), THIRD)).conclusion for one in (longer, [-900] * 80, both))

    assert (apart.line, equal.line) == ("length hides quality", "length hides quality")
    assert "1.5 times as long as third's" in apart.sentence
    assert mixed.line != "length hides quality"


def test_systems_that_never_differ_are_compared_all_the_same() -> None:
    draws = [1.5] * 400

    found = summarize(
        collected(system("mix", "mixture", draws), system("big", "baseline", draws), THIRD, baseline="big")
    )
    wins = [2.0, 1.0] * 30
    member = summarize(collected(system("mix", "mixture", wins), system("one", "member", wins), THIRD)).best_member

    # A judge that calls all of it a tie can't tell.
    assert found.conclusion.line == "judge cannot tell"
    assert "it calls nearly everything a tie" in found.conclusion.sentence
    assert found.best_member is None
    assert member is not None
    assert "is not told apart from the mixture yet" in member.sentence


def settled(preferences: list[float], prompts: int, *, decided: bool) -> Collected:
    mixture = system("mix", "mixture", preferences)
    settlement = Settlement(until="decided", decided=decided, prompts=tuple(range(prompts)), planned=400)
    return collected(mixture, THIRD, settlement=settlement, planned=400)


def test_the_verdict_rests_on_the_prompts_that_were_looked_at_when_judging_stopped() -> None:
    found = summarize(settled([2.0, 2.0, 2.0, 1.0] * 30, 100, decided=True))

    assert found.stopped is not None
    assert "; every interval is valid at every look" in found.conclusion.proof
    assert "; 100 of 400 prompts" in found.conclusion.proof
    assert found.stopped.sentence == "Decided after 100 of 400 prompts: 280 prompts (70%) were left unjudged."
    assert found.as_dict()["settlement"]["saved"] == {"prompts": 280, "share": 0.7}
    assert any("fixed beforehand" in warning for warning in found.warnings)


def test_what_a_fixed_interval_would_have_called_a_win_is_not_one_after_looking() -> None:
    preferences = [2.0, 1.0, 2.0, 2.0, 1.0] * 24

    fixed = summarize(collected(system("mix", "mixture", preferences), THIRD)).conclusion
    looked = summarize(settled(preferences, 120, decided=False))

    assert looked.stopped is not None
    assert fixed.line == "your call", "better, at a cost that is not known"
    assert looked.conclusion.line == "undecided"
    assert looked.stopped.sentence == "Not decided by 120 of 400 prompts."

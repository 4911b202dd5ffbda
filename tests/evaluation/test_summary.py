from typing import Any

from moa.evaluation.annotations import Annotation
from moa.evaluation.outputs import Output
from moa.evaluation.summary import Collected, Evaluated, summarize


def system(name: str, role: str, preferences: list[float | None], opponent: str = "third") -> Evaluated:
    outputs = {n: Output(instruction=f"q{n}", output=f"{name} {n}", generator=name) for n in range(len(preferences))}
    annotations = [
        Annotation(
            instruction=f"q{n}",
            output_1="w" * (5 * n % 19),
            output_2="w" * (7 * n % 23),
            generator_1=opponent,
            generator_2=name,
            preference=preference,
        )
        for n, preference in enumerate(preferences)
    ]
    return Evaluated(name=name, role=role, records={}, outputs=outputs, annotations=annotations)


def collected(*systems: Evaluated, opponent: str | None = "third", **fields: Any) -> Collected:
    values: dict[str, Any] = {"judge": "judge", "comparable": False, "warnings": (), "how": {}, **fields}
    return Collected(systems=systems, opponent=opponent, **values)


MIXED = [1.0, 2.0, 1.9, 1.95, 1.8] * 8
THIRD = Evaluated(name="third", role="reference", records={}, outputs={})


def test_verdicts_that_are_all_equal_are_judged_by_an_interval_that_holds_for_them() -> None:
    found = summarize(collected(system("mix", "mixture", [2.0] * 40), THIRD))

    assert found.conclusion.sentence.startswith("Use mix: better than third at an unknown share of its cost")
    assert "win rate 100.0 %" in found.conclusion.sentence


def test_mixture_and_baseline_judged_against_a_third_are_compared_by_their_difference() -> None:
    better = [min(2.0, preference + 0.05 * (n % 3)) for n, preference in enumerate(MIXED)]

    found = summarize(collected(system("mix", "mixture", better), system("big", "baseline", MIXED), THIRD))

    assert "than big" in found.conclusion.sentence or "of big" in found.conclusion.sentence
    assert " points, 95 % interval +" in found.conclusion.sentence
    assert found.conclusion.advice == "use"


def test_a_baseline_that_nobody_has_judged_yet_leaves_it_undecided() -> None:
    big = Evaluated(name="big", role="baseline", records={}, outputs={})

    found = summarize(collected(system("mix", "mixture", MIXED), big, THIRD))

    assert found.conclusion.sentence == "Undecided: nothing has judged mix yet."


def test_the_best_member_is_named_with_how_many_it_was_picked_from() -> None:
    members = [system(f"member {n}", "member", [p if n else 3.0 - p for p in MIXED]) for n in (0, 1, 2)]

    found = summarize(collected(system("mix", "mixture", MIXED), *members, THIRD))

    assert found.best_member is not None
    assert found.best_member.of == 3
    assert "member 0" not in found.best_member.sentence
    assert "(of 3, which the interval accounts for)" in found.best_member.sentence


def test_missing_verdicts_and_another_judge_are_warned_of() -> None:
    mixture = system("mix", "mixture", [None, *MIXED])
    rows = [{"preference": annotation.preference} for annotation in mixture.annotations]
    mixture = Evaluated(
        name="mix", role="mixture", records={}, outputs=mixture.outputs, annotations=mixture.annotations, rows=rows
    )

    warnings = summarize(collected(mixture, THIRD)).warnings

    assert "Verdicts are missing: 1 of 41 for mix; a missing verdict counts for neither side." in warnings
    assert any("not the leaderboard's" in warning for warning in warnings)


def test_a_rank_is_given_only_for_the_leaderboards_judge_and_baseline() -> None:
    mixture, board = system("mix", "mixture", MIXED, "gpt4_1106_preview"), {"a": 99.0, "b": 1.0}
    third = Evaluated(name="gpt4_1106_preview", role="baseline", records={}, outputs={})

    official = summarize(collected(mixture, third, opponent="gpt4_1106_preview", comparable=True), board=board)
    other = summarize(collected(mixture, third, opponent="gpt4_1106_preview"), board=board)

    assert official.systems[0].rank is not None
    assert (official.systems[0].rank.place, official.systems[0].rank.of) == (2, 2)
    assert other.systems[0].rank is None

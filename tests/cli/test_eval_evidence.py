"""No verdict says more than its evidence: planted worlds through `moa eval run`, up to its first sentence.

Each world is a way in which evaluations have misled: verdicts that are missing where it matters, prompts that are
repeated, an error of exactly 0, a judge that goes by length, a measure that is broken, one category that hides another.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.cli.moa_command import Ended, moa
from tests.support.judge_server import JudgeServer, written

Answer = Callable[[int], str | None]
"""A system's answer to a prompt by its number; None where it has none."""

PROMPTS = 80


def judge(body: dict[str, Any]) -> dict[str, Any]:
    """Prefers `good` to `poor`, or by model: what is longer, what is shown first; or says nothing on some prompts."""
    text = body["messages"][-1]["content"]
    first, second = (text.split(f"<Response_{side}>")[1].split(f"</Response_{side}>")[0] for side in "AB")
    if body["model"] == "silent" and "hard" in text:
        return written(body, "I would rather not say.")
    if body["model"] == "first":
        verdict = "A"
    elif body["model"] == "longest":
        verdict = "tie" if len(first) == len(second) else "A" if len(first) > len(second) else "B"
    else:
        verdict = "tie" if ("good" in first) == ("good" in second) else "A" if "good" in first else "B"
    return written(body, json.dumps({"reason": "r", "verdict": verdict}))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Ended]]:
    """Run an evaluation of given outputs; a judge's model is asked for by name, else there are measures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MOA_CONFIG", raising=False)
    with JudgeServer(judge) as server:
        endpoint = {"kind": "openai", "base_url": server.base_url}
        Path("moa.yaml").write_text(json.dumps({"endpoints": {"lab": endpoint}}))

        def evaluated(mix: Answer, big: Answer, *more: str, rows: list[Mapping[str, Any]] | None = None) -> Ended:
            rows = rows or [{"prompt": f"question {n} {'hard' if n % 10 < 2 else 'easy'}"} for n in range(PROMPTS)]
            rows = [{"reference": "good", **row} for row in rows]
            Path("prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            for name, answer in (("mix", mix), ("big", big)):
                known = {row["prompt"]: answer(n) for n, row in enumerate(rows)}
                usage = {"input_token_usage": 10, "output_token_usage": 10}
                outputs = [
                    {"instruction": prompt, "output": text, "generator": name, **usage}
                    for prompt, text in known.items()
                    if text is not None
                ]
                Path(f"{name}.json").write_text(json.dumps(outputs))
            price = ("--outputs-price", "mix=1,1", "--baseline-price", "10,10", "--no-judge-checks")
            system = ("--outputs", "mix=mix.json", "--baseline", "big.json", *price, "--out", "run")
            return moa("eval", "run", "prompts.jsonl", *system, *more)

        yield evaluated


def judged(model: str = "fair") -> tuple[str, ...]:
    return ("--judge", "pairwise", "--judge-model", f"lab/{model}")


def says(word: str) -> Answer:
    return lambda number: f"{word} words about {number}"


def test_repeated_prompts_are_one_draw_each_by_a_judge_and_by_a_measure(run: Callable[..., Ended]) -> None:
    rows = [{"prompt": f"question {n % 5}"} for n in range(PROMPTS)]

    for how in (judged(), ("--measure", "contains")):
        ended = run(says("good"), says("poor"), *how, rows=rows)
        assert ended.out.startswith("Undecided: 5 prompts (in 80 rows) are too few to say anything"), ended.err
        assert "75 of 80 prompts repeat others" in " ".join(ended.err.split())


def test_a_baseline_without_answers_is_not_called_a_judge_that_cannot_tell(run: Callable[..., Ended]) -> None:
    ended = run(says("poor"), lambda n: None if n % 10 < 3 else says("good")(n), *judged())

    assert ended.out.startswith("Undecided: big gave no answer on 24 of 80 prompts"), ended.err
    assert "Verdicts are missing" not in ended.err


def test_a_system_without_answers_to_some_prompts_says_so_where_it_is_recommended(run: Callable[..., Ended]) -> None:
    ended = run(lambda n: None if n % 10 < 2 else says("good")(n), says("poor"), *judged())

    assert "mix is better than big. mix gave no answer on 16 of 80 prompts." in ended.out.splitlines()[0], ended.out


@pytest.mark.slow
def test_verdicts_that_are_missing_on_the_hard_prompts_are_named_if_they_could_turn_the_verdict(
    run: Callable[..., Ended],
) -> None:
    lost = {n for n in range(PROMPTS) if n % 10 in (2, 3) or n % 20 == 4}

    ended = run(lambda n: says("poor" if n in lost else "good")(n), lambda n: says("good" if n in lost else "poor")(n),
                *judged("silent"), "--concurrency", "1")  # fmt: skip
    clear = run(says("good"), says("poor"), *judged("silent"), "--concurrency", "1", "--out", "clear")

    assert ended.out.startswith("Use mix: better than big"), ended.err
    assert "16 of 80 prompts have no verdict: they are taken to be like the others." in ended.out.splitlines()[0]
    assert "no verdict" not in clear.out.splitlines()[0], "it is better even if all of them are losses"


def test_a_judge_that_prefers_the_longer_answer_states_how_strong_a_taste_the_verdict_allows_for(
    run: Callable[..., Ended],
) -> None:
    ended = run(lambda n: "words " * (40 + n % 3), lambda n: "words " * (20 + n % 3), *judged("longest"))

    assert "length" in ended.out.splitlines()[0], ended.out
    assert "This holds for a judge that gives up to 28 points for a doubled length, and no more" in ended.out


def test_equal_outputs_do_not_vouch_for_a_judge_that_takes_what_is_shown_first(run: Callable[..., Ended]) -> None:
    ended = run(says("good"), lambda n: says("good" if n % 5 < 2 else "poor")(n), *judged("first"))

    assert ended.out.startswith("Undecided: the judge can't tell mix from big: it changed sides on 100%"), ended.err


def test_a_category_that_says_the_opposite_of_all_others_is_in_the_first_sentence(run: Callable[..., Ended]) -> None:
    rows = [{"prompt": f"question {n}", "category": "hard" if n < 12 else "easy"} for n in range(PROMPTS)]

    ended = run(lambda n: says("poor" if n < 12 else "good")(n), lambda n: says("good" if n < 12 else "poor")(n),
                *judged(), rows=rows)  # fmt: skip

    assert ended.out.startswith("Use mix: better than big"), ended.err
    assert "It is the other way round in hard (win rate 0%, 0 to " in ended.out.splitlines()[0]


def test_a_measure_that_scores_nothing_decides_nothing(run: Callable[..., Ended]) -> None:
    ended = run(says("poor"), says("none"), "--measure", "contains")

    assert ended.out.startswith("Undecided: contains tells nothing apart: every answer of every system scores 0%.")


def test_scores_that_are_all_equal_have_an_interval_in_the_terminal_the_page_and_the_summary(
    run: Callable[..., Ended],
) -> None:
    ended = run(says("good"), says("poor"), "--measure", "contains")

    assert "Use mix: better than big at 10% of its cost" in " ".join(ended.out.split()), ended.err
    assert "94.3 to 100.0" in ended.out
    assert "all 80 equal" in ended.out
    assert "all 80 equal" in Path("run/report.html").read_text()
    told = json.loads(Path("run/summary.json").read_text())["measures"]
    mine = next(one for one in told if one["system"] == "mix")
    assert (mine["score"], mine["all_equal"], mine["interval"][1]) == (100.0, 100.0, 100.0)
    # The exact interval (Clopper and Pearson's) begins at 95.5%.
    assert 93.0 < mine["interval"][0] < 95.5


def _annotations(
    path: Path, system: str, preferences: list[float | None], *, times: int = 1, first: bool = False
) -> str:
    """Write verdicts on a system whose answers are so many times as long; by a judge that takes what is shown first."""
    rows = [
        {
            "instruction": f"question {n}",
            "output_1": "word " * (20 + n % 7),
            "output_2": "word " * ((20 + n % 7) * times + 1 + n % 3),
            "generator_1": "big",
            "generator_2": system,
            "preference": 1.5 if first else preference,
            "orders": [1.0, 2.0] if first else [preference, preference],
        }
        for n, preference in enumerate(preferences)
    ]
    path.write_text(json.dumps(rows))
    return str(path)


def test_a_comparison_of_two_runs_says_what_forbids_a_verdict_in_place_of_one(tmp_path: Path) -> None:
    wins: list[float | None] = [2.0, 2.0, 1.0] * 40
    plain, worse = (
        _annotations(tmp_path / f"{name}.json", name, rows)
        for name, rows in (("plain", wins), ("worse", [1.0, 1.0, 2.0] * 40))
    )
    first = _annotations(tmp_path / "first.json", "first", wins, first=True)
    few = _annotations(tmp_path / "few.json", "few", [2.0, 1.0, 2.0, 2.0, 1.0, 2.0])

    assert "A is better" in moa("eval", "compare", plain, worse).out
    blind = moa("eval", "compare", first, plain)
    assert "the judge can't tell first from plain: it changed sides on 100% of the pairs" in blind.out
    assert "A is" not in blind.out
    assert "6 prompts are too few to say anything about few and plain" in moa("eval", "compare", few, plain).out
    assert json.loads(moa("eval", "compare", few, plain, "--json").out)["undecidable"].startswith(
        "Undecided: 6 prompts"
    )


def test_figures_of_a_file_say_what_is_missing_and_where_length_hides_quality(tmp_path: Path) -> None:
    rows: list[float | None] = [2.0, 1.0, 2.0, None] * 30

    told = moa("eval", "metrics", _annotations(tmp_path / "rows.json", "mix", rows, times=3)).out

    assert "verdicts missing            30 of 120: they count for neither side" in told
    assert "Length can't be told from quality" in told
    plain = moa("eval", "metrics", _annotations(tmp_path / "plain.json", "mix", [2.0, 1.0, 2.0] * 30)).out
    assert "missing" not in plain


def test_a_judge_and_a_measure_that_contradict_the_verdict_are_in_the_first_sentence(run: Callable[..., Ended]) -> None:
    measures = ("--measure", "contains", "--measure", "regex:poor")

    ended = run(says("good"), says("poor"), *judged("longest"), *measures)
    contrary = run(lambda n: says("good")(n) + " and more", says("poor"), *judged("first"), *measures, "--out", "same")
    worse = run(
        says("poor"), lambda n: says("good")(n) * 2, *judged("fair"), "--measure", "regex:poor", "--out", "worse"
    )

    assert "It is the other way round by regex:poor (-100.0 points, -100.0 to -" in ended.out.splitlines()[0], ended.out
    assert "the other way round by regex:poor" in contrary.out.splitlines()[0]
    assert "by the judge" not in contrary.out.splitlines()[0], "it changes sides: it shows nothing"
    first = worse.out.splitlines()[0]
    assert first.startswith("Use mix: better than big")
    assert "It is the other way round by the judge (win rate 0%, 0 to " in first
    assert "The first sentence rests on regex:poor; the charts" in " ".join(worse.err.split())

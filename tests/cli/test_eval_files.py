import asyncio
import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.cli.moa_command import moa
from tests.evaluation.conftest import Reference
from tests.evaluation.conftest import reference as reference
from tests.evaluation.report_case import run_case

KEYS = {
    "win_rate",
    "standard_error",
    "n_wins",
    "n_wins_base",
    "n_draws",
    "n_total",
    "discrete_win_rate",
    "avg_length",
    "length_controlled_win_rate",
    "lc_standard_error",
    "lc_interval",
    "lc_model",
}


@pytest.fixture
def judging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a scripted judge and two files of outputs."""
    replies = {"judge": '{"verdict": "A"}', "mute": "no idea"}
    (tmp_path / "moa.yaml").write_text(
        json.dumps({"endpoints": {"demo": {"kind": "scripted", "options": {"replies": replies}}}})
    )
    for name in ("base", "sys"):
        rows = [{"instruction": f"q{n}", "output": f"{name} {n}", "generator": name} for n in range(12)]
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MOA_CONFIG", raising=False)
    return tmp_path


def judge(*arguments: str) -> tuple[int, str]:
    files = ("--outputs", "sys.json", "--reference", "base.json", "--out", "annotations.json")
    ended = moa("eval", "judge", *files, *arguments)
    return ended.code, ended.err


def test_judge_writes_annotations_that_metrics_reads(judging: Path) -> None:
    code, told = judge("--judge", "pairwise", "--judge-model", "demo/judge")
    figures = json.loads(moa("eval", "metrics", "annotations.json", "--json").out)

    assert code == 0
    assert (
        "12 pairs judged by pairwise@demo/judge: 0 verdicts missing, 100.0% changed sides with the order, 100.0% ties"
        in told
    )
    assert "not the leaderboard's scale" in told
    assert figures.keys() >= KEYS
    assert (figures["system"], figures["win_rate"], figures["n_draws"]) == ("sys", 50.0, 12)


def test_judge_counts_missing_verdicts_and_invents_none(judging: Path) -> None:
    _, told = judge("--judge", "pairwise", "--judge-model", "demo/mute", "--limit", "3")

    assert "3 pairs judged by pairwise@demo/mute: 3 verdicts missing" in told
    assert [row["preference"] for row in json.loads((judging / "annotations.json").read_text())] == [None] * 3


@pytest.mark.skipif(find_spec("alpaca_eval") is None, reason="needs the alpaca-eval package, which knows the judges")
def test_an_unknown_judge_is_one_line_and_exit_code_2(judging: Path) -> None:
    code, told = judge("--judge", "pairwsie")

    assert code == 2
    assert len(told.strip().splitlines()) == 1
    assert "pairwsie" in told


@pytest.mark.slow
def test_metrics_gives_the_published_figures_of_a_leaderboard_model(reference: Reference, tmp_path: Path) -> None:
    model = next(iter(reference.rows))
    path = reference.annotation_file(model, tmp_path)

    shown = moa("eval", "metrics", str(path), "--data-dir", str(reference.folder), "--align", "row", "--json")

    figures, published = json.loads(shown.out), reference.leaderboard[model]
    assert figures["win_rate"] == pytest.approx(float(published["win_rate"]), abs=1e-6)
    assert figures["length_controlled_win_rate"] == pytest.approx(
        float(published["length_controlled_winrate"]), abs=0.2
    )


@pytest.mark.slow
def test_report_prints_the_verdict_first_and_where_the_report_is(tmp_path: Path) -> None:
    asyncio.run(run_case(tmp_path / "run"))

    ended = moa("eval", "report", str(tmp_path / "run"))

    assert ended.out.split()[0] in ("Use", "Don't", "Undecided:")
    assert "report.html" in ended.err
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.slow
def test_correlate_compares_a_ratings_file_with_another_leaderboard(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("model,rating\n" + "".join(f"m{n},{n}\n" for n in range(10)))

    ended = moa("eval", "correlate", str(tmp_path / "a.csv"), "--leaderboard", str(tmp_path / "b.csv"), "--json")

    figures = json.loads(ended.out)
    assert (figures["spearman"], figures["n"], len(figures["interval"])) == (pytest.approx(1.0), 10, 2)


def test_judging_without_one_verdict_fails_and_says_why_the_first_is_missing(judging: Path) -> None:
    code, told = judge("--judge", "pairwise", "--judge-model", "demo/mute", "--limit", "3")

    assert code == 1
    assert "the first missing verdict: the reply is no verdict: 'no idea'" in told


def test_judge_tells_of_instructions_that_only_one_file_has(judging: Path) -> None:
    rows = json.loads((judging / "sys.json").read_text())
    (judging / "sys.json").write_text(json.dumps([*rows[:10], {**rows[0], "instruction": "extra"}]))

    code, told = judge("--judge", "pairwise", "--judge-model", "demo/judge")

    assert code == 0
    assert "2 of 12 instructions of the reference have no counterpart and are left out" in told
    assert "1 of 11 instructions of the outputs have no counterpart and are left out" in told
    assert "10 pairs judged" in told


def test_a_panel_of_judges_says_how_far_they_agree(judging: Path) -> None:
    replies = {"one": '{"verdict": "A"}', "two": '{"verdict": "tie"}'}
    (judging / "moa.yaml").write_text(
        json.dumps({"endpoints": {"demo": {"kind": "scripted", "options": {"replies": replies}}}})
    )
    _, told = judge("--judge", "pairwise", "--judge-model", "demo/one", "--judge-model", "demo/two")

    assert "agreement beyond chance on 12 pairs, kappa: all (Fleiss) unknown" in told
    assert "pairwise@demo/one and pairwise@demo/two unknown" in told


def test_judging_ends_with_its_own_exit_code_where_the_budget_does_not_last(judging: Path) -> None:
    options = {"replies": {"judge": '{"verdict": "A"}'}}
    price = {"judge": {"input": 1000, "output": 1000}}
    (judging / "moa.yaml").write_text(
        json.dumps({"endpoints": {"demo": {"kind": "scripted", "options": options, "prices": price}}})
    )
    code, told = judge("--judge", "pairwise", "--judge-model", "demo/judge", "--budget", "0.01")

    assert code == 4
    assert "stopped: the budget is used up" in told

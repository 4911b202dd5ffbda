import json
import re
from pathlib import Path

import pytest

from moa._cli.main import main
from tests.evaluation.conftest import Reference
from tests.evaluation.conftest import reference as reference

CONFIG = """
endpoints:
  fake:
    kind: scripted
    options:
      replies: {one: "an answer", two: "another one", agg: "the answer", big: "a big one", judge: '{"verdict": "A"}'}
    prices: {"*": {input: 0, output: 1000000}}
"""
MIXTURE = """
layers:
  - proposers: [{model: fake/one, max_tokens: 8}, {model: fake/two, max_tokens: 8}]
aggregator: {model: fake/agg, max_tokens: 8}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "moa.yaml").write_text(CONFIG)
    (tmp_path / "mix.yaml").write_text(MIXTURE)
    (tmp_path / "prompts.csv").write_text("prompt,category\nfirst,a\nsecond,b\nthird,a\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def moa(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["eval", *arguments])
    return int(ended.value.code or 0)


COMMON = ("prompts.csv", "-m", "mix.yaml", "--config", "moa.yaml")


def test_plan_prints_what_it_would_take_and_makes_no_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = moa(
        "run", *COMMON, "--baseline", "fake/big", "--judge-model", "fake/judge", "--out", "r", "--plan", "--json"
    )

    told = json.loads(capsys.readouterr().out)
    assert code == 0
    assert {need["name"]: need["calls"] for need in told["systems"]} == {
        "mix": 9,
        "mix.aggregator": 3,
        "mix.member.one": 0,
        "mix.member.two": 0,
        "fake/big": 3,
        "judging": 24,
        "judge checks": 24,
    }
    assert not (folder / "r").exists()


def test_plan_counts_what_is_aggregated_anew(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = moa("generate", *COMMON, "--leave-one-out", "--shuffled", "--out", "r", "--plan", "--json")

    told = json.loads(capsys.readouterr().out)
    assert code == 0
    calls = {need["name"]: need["calls"] for need in told["systems"]}
    bought = {name: count for name, count in calls.items() if count}
    assert bought == {"mix": 9, "mix.aggregator": 3, "mix.without.one": 3, "mix.without.two": 3, "mix.shuffled": 3}


def test_generate_writes_outputs_and_says_where(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = moa("generate", *COMMON, "--baseline", "fake/big", "--out", "r")

    assert code == 0
    assert [row["output"] for row in json.loads((folder / "r/outputs/mix.json").read_text())] == ["the answer"] * 3
    told = capsys.readouterr()
    assert re.fullmatch(
        r"mix: \$9,000\.00 per 1,000 prompts, .* at the median .*; fake/big: \$3,000\.00 per .*\. mix takes 3 times "
        r"the cost and .* time\.\n",
        told.out,
    )
    assert "15 of 15 answers" in told.err
    assert "Results: r" in told.err


def test_a_used_up_budget_exits_with_4_and_says_how_to_go_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = moa("generate", *COMMON, "--out", "r", "--budget", "40", "--concurrency", "1")

    assert code == 4
    assert "a larger --budget continues" in " ".join(capsys.readouterr().err.split())
    assert moa("generate", *COMMON, "--out", "r", "--budget", "400") == 0


def test_a_budget_that_lasts_for_nothing_exits_with_4_and_reports_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "big.yaml").write_text("layers: []\naggregator: {model: fake/big, max_tokens: 8}")

    code = moa("run", *COMMON, "--baseline", "big.yaml", "--judge-model", "fake/judge", "--out", "r", "--budget", "1")

    assert code == 4
    assert "0 of 15 answers and 0 of 12 verdicts" in " ".join(capsys.readouterr().err.split())
    assert not (folder / "r" / "report.html").exists()


def test_a_mixture_without_any_output_exits_with_1_and_says_why(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "moa.yaml").write_text(CONFIG.replace('agg: "the answer"', 'agg: ""'))

    assert moa("generate", *COMMON, "--out", "r") == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "6 answers failed" in told
    assert "mostly: no aggregator gave an answer" in told


def test_changed_settings_exit_with_2_and_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moa("generate", *COMMON, "--out", "r")

    assert moa("generate", *COMMON, "--out", "r", "--seed", "5") == 2
    assert "seed was 0, is 5" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_a_mixture_that_joins_a_run_without_its_baseline_is_told_what_to_repeat(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judged = ("--baseline", "fake/big", "--judge-model", "fake/judge", "--no-judge-checks")
    assert moa("run", *COMMON, *judged, "--out", "r") == 0
    (folder / "other.yaml").write_text(MIXTURE + "prompt: numbered\n")
    other = ("prompts.csv", "-m", "other.yaml", "--config", "moa.yaml", "--out", "r")
    capsys.readouterr()

    assert moa("run", *other) == 2
    assert "--baseline fake/big --judge pairwise --judge-model fake/judge" in " ".join(capsys.readouterr().err.split())
    assert moa("generate", *other) == 0
    assert moa("run", *other, *judged, "--plan", "--json") == 0

    told = json.loads(capsys.readouterr().out.partition("\n")[2])
    assert told["total"]["calls"] == 0, "what it answers was judged before, as another system's"


def test_latency_asks_members_by_themselves_and_knows_their_first_token(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = moa("latency", *COMMON, "--out", "r", "--json")

    told = json.loads(capsys.readouterr().out)
    assert code == 0
    assert told.keys() == {"mix", "mix.aggregator", "mix.member.one", "mix.member.two"}
    assert told["mix.member.one"]["first_token_s"]["n"] == 3
    assert told["mix"]["per_1000_prompts"]["usd"] > told["mix.aggregator"]["per_1000_prompts"]["usd"] > 0


def test_latency_shows_every_name_whole_on_a_terminal_of_80_columns(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    (folder / "a-mixture-with-a-name.yaml").write_text(MIXTURE)

    moa("latency", "prompts.csv", "-m", "a-mixture-with-a-name.yaml", "--config", "moa.yaml", "--out", "r")

    told = capsys.readouterr()
    assert told.out.count("a-mixture-with-a-name.member.one ") == 2
    *tables, _, _ = told.out.splitlines()  # and a sentence, which the terminal itself wraps
    assert max(map(len, tables)) <= 80
    assert "0 of 12 answers \u00b7 $0\n" in told.err.replace(" | ", " \u00b7 ")


def test_compare_tells_the_difference_of_two_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, preferences in (("a", [2.0, 1.9, 1.2, 1.8, 1.7, 1.9]), ("b", [1.2, 1.5, 1.1, 1.9, 1.3, 1.4])):
        rows = [
            {
                "instruction": f"{number}",
                "output_1": "x" * (3 + number),
                "generator_1": "base",
                "output_2": "y" * (5 - number % 3),
                "generator_2": name,
                "preference": preference,
            }
            for number, preference in enumerate(preferences)
        ]
        (folder / f"{name}.json").write_text(json.dumps(rows))

    main_code = _quietly("compare", "a.json", "b.json", "--json")

    told = json.loads(capsys.readouterr().out)
    assert main_code == 0
    assert (told["n"], told["baseline"]) == (6, "base")
    assert told["win_rate_difference"]["value"] == pytest.approx(35.0)


@pytest.mark.slow
def test_compare_also_tells_what_the_official_model_predicts(
    reference: Reference, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(reference.annotation_file(model, tmp_path)) for model in ("claude-2", "claude-2.1")]

    assert _quietly("compare", *files, "--data-dir", str(reference.folder)) == 0

    assert "win rate of A against B as the official model predicts it: 52.99%" in capsys.readouterr().out


def test_compare_refuses_a_margin_below_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert _quietly("compare", "a.json", "b.json", "--margin", "-1") == 2
    assert "--margin" in capsys.readouterr().err


def _quietly(*arguments: str) -> int:
    try:
        main(["eval", *arguments])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run", *COMMON, "--baseline", "fake/big", "--judge-model", "fake/judge"), "--out"),
        (("run", *COMMON, "--judge-model", "fake/judge", "--out", "r"), "give --baseline"),
        (("generate", *COMMON, "--out", "r", "--baseline-price", "3"), "two prices per million tokens"),
        (("run", *COMMON, "--until", "soon", "--out", "r", "--judge-model", "fake/judge"), "--until soon"),
    ],
)
def test_a_command_line_that_makes_no_sense_exits_with_2_and_says_why(
    arguments: tuple[str, ...], told: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert moa(*arguments) == 2
    assert told in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_a_report_made_anew_finds_the_files_that_the_run_was_given(
    folder: Path, reference: Reference, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("-m", "mix.yaml", "--config", "moa.yaml", "--data-dir", str(reference.folder), "--limit", "3")
    assert moa("run", "alpaca_eval", *given, "--baseline", "fake/big", "--judge-model", "fake/judge", "--out", "r") == 0
    capsys.readouterr()

    assert _quietly("report", "r") == 0

    told = " ".join(capsys.readouterr().err.split())
    assert "the length-only model is used" not in told
    assert "Judged head-to-head against fake/big" in told


def test_a_folder_without_alpaca_evals_own_baseline_is_named_where_it_is_needed(
    folder: Path, reference: Reference, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("-m", "mix.yaml", "--config", "moa.yaml", "--data-dir", str(reference.folder), "--limit", "3")

    assert moa("run", "alpaca_eval", *given, "--judge-model", "fake/judge", "--out", "r") == 2
    assert "has no alpaca_eval_gpt4_baseline.json" in " ".join(capsys.readouterr().err.split())


def test_run_takes_mixture_and_judge_of_the_settings_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "moa.yaml").write_text(
        f"defaults: {{mixture: mix.yaml, judge: pairwise, judge_model: fake/judge}}\n{CONFIG}"
    )

    code = moa("run", "prompts.csv", "--baseline", "fake/big", "--out", "runs/a", "--plan", "--json")

    assert code == 0
    assert json.loads(capsys.readouterr().out) == _planned(folder, capsys)


def _planned(folder: Path, capsys: pytest.CaptureFixture[str]) -> object:
    """The plan of the same evaluation with everything given by options."""
    (folder / "moa.yaml").write_text(CONFIG)
    moa("run", *COMMON, "--baseline", "fake/big", "--judge-model", "fake/judge", "--out", "runs/a", "--plan", "--json")
    return json.loads(capsys.readouterr().out)

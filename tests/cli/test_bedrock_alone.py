"""AWS credentials are enough: evaluating, judging and searching on a stand-in for Bedrock, without any other key."""

import json
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest

from moa._config.builtin_endpoints import BUILT_IN
from tests.cli.moa_command import moa
from tests.support.bedrock_server import CREDENTIALS, REGION, BedrockServer, Reply, Says
from tests.support.bedrock_thread import bedrock_in_thread

OPUS = "bedrock/us.anthropic.claude-opus-5-5"
KIMI = "us.moonshotai.kimi-k3"


def _by_model(model: str) -> Reply:
    if model.endswith(KIMI.removeprefix("us")):
        return Says('{"reason": "Both are fine.", "verdict": "tie"}')
    return Says(f"An answer by {model}.")


@pytest.fixture
def bedrock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BedrockServer]:
    """The stand-in; the working folder has its settings and some prompts, the environment its credentials only."""
    for settings in BUILT_IN.values():
        if settings.api_key_env is not None:
            monkeypatch.delenv(settings.api_key_env, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", CREDENTIALS.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CREDENTIALS.secret_key)
    monkeypatch.setenv("AWS_SESSION_TOKEN", CREDENTIALS.token or "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with bedrock_in_thread(_by_model) as server:
        config = {"endpoints": {"bedrock": {"endpoint_url": server.url, "region": REGION}}}
        (tmp_path / "given.yaml").write_text(json.dumps(config))
        monkeypatch.setenv("MOA_CONFIG", "given.yaml")
        (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"q{n}"}) + "\n" for n in range(30)))
        yield server


@pytest.mark.slow
def test_eval_run_takes_a_judge_of_a_third_maker_and_says_that_it_is_not_the_leaderboards_scale(
    bedrock: BedrockServer, tmp_path: Path
) -> None:
    ended = moa(
        "eval", "run", "prompts.jsonl", "-m", "bedrock-current", "--baseline", OPUS, "--limit", "3", "--out", "r"
    )

    assert ended.code == 0, ended.err
    assert f"judge: pairwise@bedrock/{KIMI}, which is not the leaderboard's scale" in " ".join(ended.err.split())
    assert "not the leaderboard's scale" in unescape((tmp_path / "r" / "report.html").read_text())
    assert {seen.model for seen in bedrock.seen} >= {KIMI, "us.amazon.nova-2-lite-v1:0", OPUS.partition("/")[2]}


@pytest.mark.slow
def test_eval_judge_and_search_too(bedrock: BedrockServer, tmp_path: Path) -> None:
    for name in ("base", "sys"):
        rows = [{"instruction": f"q{n}", "output": f"{name} {n}", "generator": name} for n in range(3)]
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))

    # Given outputs tell no region: a `moa.yaml` may, and a profile is then the global one.
    judged = moa("eval", "judge", "--outputs", "sys.json", "--reference", "base.json", "--out", "a.json")
    models = "bedrock/us.amazon.nova-2-lite-v1:0,bedrock/mistral.mistral-large-3-675b-instruct"
    found = moa(
        "eval",
        "search",
        "prompts.jsonl",
        "--models",
        models,
        "--baseline",
        OPUS,
        "--max-tokens",
        "64",
        "--baseline-max-tokens",
        "64",
        "--out",
        "s",
    )

    assert (judged.code, found.code) == (0, 0), judged.err + found.err
    assert f"3 pairs judged by pairwise@bedrock/{KIMI.replace('us.', 'global.')}: 0 verdicts missing" in " ".join(
        judged.err.split()
    )
    assert f"judge: pairwise@bedrock/{KIMI}" in " ".join(found.err.split())

"""The cache around a model: what is bought, what is not bought again, and what the books say."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from moa._config.settings import Settings, load_settings
from moa._policies.cache.settings import CacheMode, CacheSettings
from moa._policies.cache.store import Store
from moa._runtime.engine import Engine
from moa._usage import TokenUsage
from moa.errors import AggregationFailed, ConfigError, ServiceFailed
from moa.events import AnswerDelta
from moa.providers._base import Finish, ModelRequest, ReasoningDelta, ToolCallDelta
from moa.providers._scripted import Pause, Script, ScriptedProvider
from tests.support.engines import mixture_of, scripted
from tests.support.model_server import ModelServer, Text

USED = TokenUsage(input_tokens=10, output_tokens=5)
PRICE = {"input": 1.0, "output": 2.0}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls.sqlite"


@pytest.fixture
def foreign(path: Path) -> Path:
    path.write_text("my notes")
    return path


def _engine(provider: ScriptedProvider, path: Path, mode: CacheMode = "read_write", **arguments: object) -> Engine:
    cache = CacheSettings(path=path, mode=mode)
    return Engine(settings=Settings(endpoints={}), providers={"fake": provider}, cache=cache, **arguments)


def _numbered(finish: str = "stop") -> ScriptedProvider:
    """A model whose every reply is another one, each used 10 + 5 tokens."""
    count = iter(range(1000))
    return ScriptedProvider(lambda request: [f"reply {next(count)}", Finish(reason=finish, usage=USED)])


def _alone(**agent: object) -> object:
    return mixture_of(aggregator={"model": "agg", **agent})


async def test_a_hit_is_in_the_books_as_cached_charged_nothing_and_priced_as_ever(path: Path) -> None:
    async with _engine(_numbered(), path) as engine:
        bought = await engine.arun(_alone(price=PRICE), "hi")
        kept = await engine.arun(_alone(price=PRICE), "hi")

    assert (bought.text, kept.text) == ("reply 0", "reply 0")
    first, again = bought.ledger.attempts[0], kept.ledger.attempts[0]
    assert (first.cached, again.cached) == (False, True)
    assert (again.status, again.usage, again.usage_source) == ("ok", USED, "reported")
    assert again.finish_reason == "stop"
    assert kept.cost_usd == bought.cost_usd == Decimal(20) / 1_000_000
    assert bought.ledger.spend.charged_usd == bought.cost_usd
    assert kept.ledger.spend.charged_usd == 0
    assert kept.as_dict()["charged_usd"] == 0
    assert kept.status == "complete"


async def test_a_hit_takes_nothing_out_of_a_budget(path: Path) -> None:
    model = _alone(price=PRICE, max_tokens=10)
    async with _engine(_numbered(), path, budget_usd=1) as engine:
        await engine.arun(model, "hi")
        spent = engine.budget.spent_usd
        await engine.arun(model, "hi")

        assert engine.budget.spent_usd == spent > 0
        assert engine.budget.left_usd == 1 - spent


async def test_streamed_and_whole_replies_share_an_entry(path: Path) -> None:
    script = [ReasoningDelta("h"), ReasoningDelta("m"), "one ", "two", Finish(reason="stop", usage=USED)]
    provider = scripted({"agg": script})
    async with _engine(provider, path) as engine:
        whole = await engine.arun(_alone(), "hi")
        async with engine.astream(_alone(), "hi") as events:
            told = [event async for event in events]

    assert len(provider.requests) == 1
    pieces = [(event.text, event.reasoning) for event in told if isinstance(event, AnswerDelta)]
    assert pieces == [("hm", True), ("one two", False)]
    assert (whole.reasoning, told[-1].answer.reasoning) == ("hm", "hm")
    assert told[-1].answer.latency.first_token_s is not None


async def test_tool_calls_come_back_whole(path: Path) -> None:
    pieces = [ToolCallDelta(index=0, id="c1", name="find", arguments='{"a"'), ToolCallDelta(index=0, arguments=":1}")]
    async with _engine(scripted({"agg": [*pieces, Finish(reason="tool_calls", usage=USED)]}), path) as engine:
        first, second = [await engine.arun(_alone(), "hi") for _ in range(2)]

    assert second.ledger.attempts[0].cached
    assert first.tool_calls == second.tool_calls
    assert second.tool_calls[0].arguments == '{"a":1}'


@pytest.mark.parametrize(
    ("mode", "texts", "afterwards"),
    [
        ("off", ["reply 0", "reply 1"], "reply 0"),
        ("read", ["kept", "kept"], "kept"),
        ("read_write", ["kept", "kept"], "kept"),
        ("write", ["reply 0", "reply 1"], "kept"),
        ("refresh", ["reply 0", "reply 1"], "reply 1"),
    ],
)
async def test_each_mode_uses_and_keeps_what_it_says(
    path: Path, mode: CacheMode, texts: list[str], afterwards: str
) -> None:
    if mode != "off":
        async with _engine(scripted({"agg": "kept"}), path) as engine:
            await engine.arun(_alone(), "hi")
    async with _engine(_numbered(), path, mode) as engine:
        assert [(await engine.arun(_alone(), "hi")).text for _ in range(2)] == texts
    async with _engine(_numbered(), path) as engine:
        assert (await engine.arun(_alone(), "hi")).text == afterwards


async def test_reading_keeps_nothing(path: Path) -> None:
    async with _engine(_numbered(), path) as engine:
        await engine.arun(_alone(), "hi")
    async with _engine(_numbered(), path, "read") as engine:
        assert [(await engine.arun(_alone(), "new")).text for _ in range(2)] == ["reply 0", "reply 1"]


@pytest.mark.parametrize(
    "script",
    [
        [ServiceFailed("boom", model="fake/agg")],
        ["half", ServiceFailed("boom", model="fake/agg")],
        ["", Finish(reason="stop", usage=USED)],
        [ReasoningDelta("hm"), Finish(reason="length", usage=USED)],
    ],
)
async def test_failures_and_empty_replies_are_never_kept(path: Path, script: Script) -> None:
    provider = scripted({"agg": script})
    async with _engine(provider, path) as engine:
        for _ in range(2):
            with pytest.raises(AggregationFailed):
                await engine.arun(_alone(), "hi")

    assert len(provider.requests) == 2


async def test_a_filtered_reply_is_not_kept_and_a_cut_off_one_is(path: Path) -> None:
    for reason, calls in (("content_filter", 2), ("length", 1)):
        provider = _numbered(reason)
        async with _engine(provider, path) as engine:
            for _ in range(2):
                await engine.arun(_alone(), f"hi {reason}")
        assert len(provider.requests) == calls


async def test_a_reply_that_nobody_could_use_is_not_kept(path: Path) -> None:
    provider = scripted({"a": "one", "b": "two", "agg": "no idea"})
    mixture = mixture_of(["a", "b"], aggregation="selection")
    async with _engine(provider, path) as engine:
        for _ in range(2):
            with pytest.raises(AggregationFailed):
                await engine.arun(mixture, "hi")

    assert Counter(request.model for request in provider.requests) == {"a": 1, "b": 1, "agg": 2}


async def test_a_changed_aggregator_uses_all_proposals_again(path: Path) -> None:
    provider = scripted({"a": "one", "b": "two", "agg": "done", "other": "done differently"})
    layers = [[{"model": "a", "samples": 3}, "b"], ["b", "a"]]
    async with _engine(provider, path) as engine:
        first = await engine.arun(mixture_of(*layers), "hi")
        provider.requests.clear()
        second = await engine.arun(mixture_of(*layers, aggregator="other"), "hi")

    assert [request.model for request in provider.requests] == ["other"]
    assert [attempt.cached for attempt in second.ledger.attempts] == [True] * 6 + [False]
    texts = [[proposal.text for proposal in layer.roster] for layer in first.layers]
    assert [[proposal.text for proposal in layer.roster] for layer in second.layers] == texts


@pytest.mark.parametrize("layer", [[{"model": "a", "samples": 3}], ["a", "a", "a"]])
async def test_samples_of_one_model_stay_different_replies(path: Path, layer: list[object]) -> None:
    provider = _numbered()
    mixture = mixture_of(layer, aggregator="b")
    async with _engine(provider, path) as engine:
        first, second = [await engine.arun(mixture, "hi") for _ in range(2)]

    texts = [proposal.text for proposal in first.proposals]
    assert len(set(texts)) == 3
    assert [proposal.text for proposal in second.proposals] == texts
    assert len(provider.requests) == 4


async def test_the_runs_seed_is_part_of_what_is_asked(path: Path) -> None:
    async with _engine(_numbered(), path) as engine:
        texts = [(await engine.arun(_alone(), "hi", seed=seed)).text for seed in (1, 2, 1)]

    assert texts == ["reply 0", "reply 1", "reply 0"]


async def test_the_same_call_made_twice_at_once_is_bought_once(path: Path) -> None:
    provider = scripted({"agg": [Pause(0.05), "slow"]})
    async with _engine(provider, path) as engine:
        answers = await asyncio.gather(*(engine.arun(_alone(), "hi") for _ in range(5)))

    assert len(provider.requests) == 1
    assert [answer.ledger.attempts[0].cached for answer in answers].count(False) == 1


async def test_processes_that_share_a_cache_pay_once_for_the_same_call_at_the_same_time(path: Path) -> None:
    provider = scripted({"agg": [Pause(0.1), "bought once", Finish(reason="stop", usage=USED)]})
    async with _engine(provider, path) as one, _engine(provider, path) as other:
        answers = await asyncio.gather(*(engine.arun(_alone(), "hi") for engine in (one, other, one, other)))

    assert {answer.text for answer in answers} == {"bought once"}
    assert len(provider.requests) == 1


def _announced(*script: object) -> tuple[ScriptedProvider, asyncio.Event]:
    """A model, and an event that says that it was asked."""
    started = asyncio.Event()

    def reply(request: ModelRequest) -> Script:
        started.set()
        return list(script)

    return ScriptedProvider(reply), started


async def test_a_process_goes_on_with_a_call_that_fails_in_another_one(path: Path) -> None:
    failing, started = _announced(Pause(0.1), ServiceFailed("down", model="fake/agg"))
    working = scripted({"agg": ["bought after all", Finish(reason="stop", usage=USED)]})
    async with _engine(failing, path) as one, _engine(working, path) as other:
        failed = asyncio.ensure_future(one.arun(_alone(), "hi"))
        await started.wait()
        assert (await other.arun(_alone(), "hi")).text == "bought after all"
        with pytest.raises(AggregationFailed):
            await failed


async def test_a_call_that_is_cancelled_gives_its_lease_back(path: Path) -> None:
    silent, started = _announced(Pause(1000))
    working = scripted({"agg": ["mine"]})
    async with _engine(silent, path) as one, _engine(working, path) as other:
        left = asyncio.ensure_future(one.arun(_alone(), "hi"))
        await started.wait()
        left.cancel()
        assert (await other.arun(_alone(), "hi")).text == "mine"


async def test_the_lease_of_a_call_that_takes_long_is_renewed_again_and_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moa._policies.cache.async_store.LEASE_S", 0.06)
    silent, started = _announced(Pause(1000))

    def until(statement: str) -> int:
        with closing(sqlite3.connect(path)) as file, file:
            return int((file.execute(statement).fetchone() or [0])[0])

    async with _engine(silent, path) as engine:
        left = asyncio.ensure_future(engine.arun(_alone(), "hi"))
        await started.wait()
        for _ in range(2):
            until("UPDATE leases SET until = 1")
            for _ in range(1000):
                if until("SELECT until FROM leases") > 1:
                    break
                await asyncio.sleep(0.01)
            else:
                pytest.fail("nobody renews it")
        left.cancel()


@pytest.mark.slow
async def test_damaged_rows_are_misses_told_once_and_kept_anew(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    provider = _numbered()
    async with _engine(provider, path) as engine:
        for prompt in ("one", "two"):
            await engine.arun(_alone(), prompt)
    with closing(sqlite3.connect(path)) as db:
        # Once as altered text, once as what has no form at all.
        first, second = (row[0] for row in db.execute("SELECT key FROM replies ORDER BY used_at"))
        db.execute("UPDATE replies SET entry = replace(entry, 'reply 0', 'reply 9') WHERE key = ?", (first,))
        db.execute("UPDATE replies SET entry = x'ff00' WHERE key = ?", (second,))
        db.commit()

    async with _engine(provider, path) as engine:
        bought = [(await engine.arun(_alone(), prompt)).text for prompt in ("one", "two")]
        again = [(await engine.arun(_alone(), prompt)).text for prompt in ("one", "two")]

    assert bought == again == ["reply 2", "reply 3"]
    assert caplog.text.count("is damaged") == 1


async def test_whoever_waits_for_the_same_call_buys_it_when_that_fails(path: Path) -> None:
    broken = iter([True, False])

    def script(request: ModelRequest) -> Script:
        return [Pause(0.01), ServiceFailed("boom", model="fake/agg")] if next(broken) else "good"

    async with _engine(ScriptedProvider(script), path) as engine:
        results = await asyncio.gather(*(engine.arun(_alone(), "hi") for _ in range(3)), return_exceptions=True)

    assert isinstance(results[0], AggregationFailed)
    assert [answer.text for answer in results[1:]] == ["good", "good"]


async def test_a_file_that_is_no_cache_is_told_before_anything_is_sent(foreign: Path) -> None:
    provider = _numbered()
    async with _engine(provider, foreign) as engine:
        with pytest.raises(ConfigError, match="this is not a cache"):
            await engine.arun(_alone(), "hi")

    assert provider.requests == []


async def test_a_reply_that_cannot_be_kept_is_used_and_the_log_says_why(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with _engine(_numbered(), path) as engine:
        await engine.arun(_alone(), "one")
        with closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TRIGGER full BEFORE INSERT ON replies BEGIN SELECT RAISE(ABORT, 'no room'); END")
        answer = await engine.arun(_alone(), "two")

    assert answer.text == "reply 1"
    assert caplog.text.count("replies are not stored") == 1
    assert "no room" in caplog.text


async def test_the_configuration_names_the_cache(tmp_path: Path) -> None:
    (tmp_path / "moa.yaml").write_text("cache: {mode: read_write, path: kept/calls.sqlite, max_size_mb: 5}\n")
    settings = load_settings(environ={"HOME": str(tmp_path)}, cwd=tmp_path)
    provider = _numbered()
    for _ in range(2):
        async with Engine(settings=settings, providers={"fake": provider}) as engine:
            assert (await engine.arun(_alone(), "hi")).text == "reply 0"

    assert settings.cache == CacheSettings(path=tmp_path / "kept/calls.sqlite", mode="read_write", max_size_mb=5)
    assert settings.cache.path.is_file()


BATCH = """
import asyncio, sys
from moa._runtime.engine import Engine
from moa._config.settings import Settings
from moa._mixture.loading import load
from moa.providers._endpoint import Endpoint

async def main(base_url, cache):
    settings = Settings(endpoints={"lab": Endpoint(name="lab", kind="openai", base_url=base_url)})
    mixture = load({
        "layers": [{"proposers": [{"model": "lab/a", "samples": 2}, {"model": "lab/b"}]}],
        "aggregator": {"model": "lab/agg"},
    })
    async with Engine(settings=settings, cache=cache) as engine:
        for start in range(0, 24, 4):
            prompts = [f"prompt {number}" for number in range(start, start + 4)]
            for answer in await asyncio.gather(*(engine.arun(mixture, prompt) for prompt in prompts)):
                print(answer.text, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.slow
async def test_after_a_kill_nothing_that_was_kept_is_bought_again(path: Path) -> None:
    async with ModelServer() as server:
        server.behave("*", lambda body, number: Text(f"{body['model']} {number}"))
        command = [sys.executable, "-c", BATCH, server.base_url, str(path)]
        worker = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
        await server.until(lambda: len(server.requests) >= 40, timeout_s=20)
        os.kill(worker.pid, signal.SIGKILL)
        await worker.wait()
        await server.until(lambda: server.running == 0)
        asked, kept = len(server.requests), _kept(path)
        printed, bought = [], []
        for _ in range(2):
            worker = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
            printed.append((await worker.communicate())[0])
            bought.append(len(server.requests) - asked)

    # The batch has 24 prompts of four calls; four prompts are under way at once, each with three calls at most.
    assert asked - 12 <= kept <= asked
    assert bought == [96 - kept, 96 - kept]
    assert len(printed[0].splitlines()) == 24
    assert printed[0] == printed[1]


def _kept(path: Path) -> int:
    with closing(Store(CacheSettings(path=path))) as store:
        return store.stats().entries

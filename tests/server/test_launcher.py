"""What the command line makes of a server."""

import json
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from moa._config.settings import Settings
from moa._server.api_keys import ApiKeys, hash_key
from moa._server.launcher import ServeSettings, listen, make_options, require_shareable, shared_settings
from moa._server.logs import JsonFormatter, TextFormatter
from moa._server.startup_checks import usable_mixtures
from moa._state.opening import StateSettings
from moa.errors import MixtureError, UsageError
from moa.providers._endpoint import BreakerSettings, Endpoint, LimitSettings
from tests.support.served import DUO, served

PLAIN = Endpoint(name="lab", kind="openai", base_url="http://127.0.0.1:9/v1", breaker=None)
LOCAL = Endpoint(name="local", kind="local")
NO_ENDPOINTS = Settings(endpoints={})
ONLY_LOCAL = Settings(endpoints={"local": LOCAL})


def test_beyond_loopback_a_server_needs_keys(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--api-keys-file"):
        make_options(ServeSettings(host="0.0.0.0", mixtures=("local",)), ONLY_LOCAL)

    keys = tmp_path / "keys.yaml"
    keys.write_text(f"keys: [{{name: a, sha256: {hash_key('x')}}}]")
    options = make_options(ServeSettings(host="0.0.0.0", mixtures=("local",), keys_file=keys), ONLY_LOCAL)
    assert options.keys is not None
    assert not options.shows_error_details


def test_presets_whose_endpoints_are_ready_are_served_and_the_others_left_out_in_silence() -> None:
    together = Endpoint(name="together", kind="openai", base_url="https://api.test/v1", api_key=SecretStr("key"))
    mixtures, left_out = usable_mixtures((), Settings(endpoints={"together": together, "local": LOCAL}))
    names = {mixture.name for mixture in mixtures}

    assert {"local", "together-moa", "together-moa-lite"} <= names
    assert "bedrock-haiku" not in names
    assert left_out == {}


def test_a_mixture_that_was_named_but_cannot_run_is_left_out_with_the_reason() -> None:
    keyless = Endpoint(name="together", kind="openai", base_url="https://api.test/v1")
    settings = Settings(endpoints={"together": keyless, "local": LOCAL}, key_variables={"together": "TOGETHER_API_KEY"})
    options = make_options(ServeSettings(mixtures=("local", "together-moa-lite")), settings)

    assert [mixture.name for mixture in options.mixtures] == ["local"]
    assert "export TOGETHER_API_KEY" in options.left_out["together-moa-lite"]


def test_a_server_that_could_serve_nothing_says_why_and_ends() -> None:
    with pytest.raises(UsageError, match=r"no mixture can be served:\n  local: .*there is no such endpoint"):
        usable_mixtures(("local",), NO_ENDPOINTS)


async def test_readyz_names_what_is_not_served_and_tells_strangers_no_reasons() -> None:
    for keys, told in ((None, {"lost": "no key"}), (ApiKeys([]), ["lost"])):
        async with served(left_out={"lost": "no key"}, keys=keys) as server:
            assert json.loads(await server.page("/readyz")) == {"status": "ok", "not_served": told}


@pytest.mark.parametrize("source", ["--budget", "its budget_usd"])
def test_a_budget_that_no_run_could_keep_is_refused_at_the_start(source: str, tmp_path: Path) -> None:
    unbounded = {
        "name": "wide",
        "layers": [{"proposers": [{"model": "lab/one"}]}],
        "aggregator": {"model": "lab/two"},
    }
    own = {"budget_usd": 1.0} if source == "its budget_usd" else {}
    (tmp_path / "wide.yaml").write_text(json.dumps({**unbounded, **own}))
    serving = ServeSettings(mixtures=(str(tmp_path / "wide.yaml"),), budget_usd=None if own else 5.0)

    with pytest.raises(UsageError, match=f"{source} can't work with wide: .*`max_tokens` for one"):
        make_options(serving, Settings(endpoints={"lab": PLAIN}))


def test_a_port_that_is_taken_is_one_sentence() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError) as caught:
            listen("127.0.0.1", port)

    assert str(caught.value) == (
        f"can't listen at 127.0.0.1:{port}: another program listens there: give another --port"
    )


def test_two_mixtures_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="two mixtures are called local"):
        usable_mixtures(("local", "local"), NO_ENDPOINTS)


def test_a_mixture_that_is_not_there_is_an_error() -> None:
    with pytest.raises(MixtureError):
        usable_mixtures(("locl",), NO_ENDPOINTS)


def test_several_workers_refuse_a_model_that_each_would_load() -> None:
    settings = Settings(endpoints={"lab": replace(PLAIN, kind="local")})

    with pytest.raises(UsageError, match="slots of lab"):
        require_shareable((DUO,), settings)
    require_shareable((DUO,), Settings(endpoints={"lab": replace(PLAIN, breaker=BreakerSettings())}))


def test_several_workers_share_a_file_a_budget_of_this_start_and_the_places_of_an_endpoint() -> None:
    limited = replace(PLAIN, limits=LimitSettings(max_concurrency=9), model_limits={"m": LimitSettings()})
    settings = Settings(endpoints={"lab": limited})
    shared = shared_settings(ServeSettings(workers=4, budget_usd=3, start="one"), settings)

    assert shared.state is not None
    assert shared.state.where.endswith("moa/state.sqlite")
    assert [(budget.usd, budget.account) for budget in shared.budgets] == [(3, "server one")]
    assert shared.endpoints["lab"].limits.max_concurrency == 2
    assert shared_settings(ServeSettings(), settings) == settings


def test_budgets_of_keys_survive_a_restart_and_keys_without_any_need_no_file(tmp_path: Path) -> None:
    keys = tmp_path / "keys.yaml"
    stores = []
    for budget in ("", ", budget_usd: 5"):
        keys.write_text(f"keys: [{{name: a, sha256: {hash_key('x')}{budget}}}]")
        stores.append(shared_settings(ServeSettings(keys_file=keys), NO_ENDPOINTS).state)

    assert stores[0] is None
    assert stores[1] is not None


def test_the_settings_own_store_is_the_workers_too() -> None:
    settings = Settings(endpoints={}, state=StateSettings(where="redis://127.0.0.1"))

    assert shared_settings(ServeSettings(workers=2), settings).state == settings.state


def _record(**extra: Any) -> logging.LogRecord:
    record = logging.makeLogRecord(
        {"name": "moa.server.access", "levelname": "INFO", "msg": "%s done", "args": ("it",)}
    )
    record.__dict__.update(extra)
    return record


def test_a_log_line_for_machines_is_one_json_object() -> None:
    line = JsonFormatter().format(_record(facts={"request_id": "req-1", "prompt": "a\nb"}))

    assert "\n" not in line
    assert (
        json.loads(line).items()
        >= {"message": "it done", "request_id": "req-1", "prompt": "a\nb", "level": "info"}.items()
    )


def test_a_log_line_for_machines_holds_the_traceback_of_a_mistake() -> None:
    try:
        raise ValueError("oops")
    except ValueError:
        record = _record(exc_info=sys.exc_info(), request_id="req-2")

    line = json.loads(JsonFormatter().format(record))
    assert "ValueError: oops" in line["traceback"]
    assert line["request_id"] == "req-2"


HOSTILE = "boom\r\n12:00:00 INFO forged\x1b[2J \x9b1m \u202e \u2028next"
"""What a service may write into its error: another line, and what a terminal would obey."""


def test_a_service_writes_no_line_of_its_own_into_a_log_for_people() -> None:
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        record = _record(exc_info=sys.exc_info(), msg=HOSTILE, args=())
    line = TextFormatter().format(record)

    assert "INFO boom 12:00:00 INFO forged\N{SYMBOL FOR ESCAPE}[2J <U+009B>1m <U+202E> next\n" in line
    assert not set(line) & set("\r\x1b\x9b\u202e\u2028")
    assert "ValueError: boom" in line


def test_a_log_line_for_machines_holds_nothing_that_a_terminal_obeys() -> None:
    line = JsonFormatter().format(_record(msg=HOSTILE, args=()))

    assert json.loads(line)["message"] == HOSTILE
    assert not set(line) & set("\r\n\x1b\x9b\u202e\u2028")


def test_a_log_line_for_people_is_one_line_whatever_a_prompt_holds() -> None:
    line = TextFormatter().format(_record(facts={"request_id": "req-1", "caller": "-", "prompt": "a\n\x1b[2Jb"}))

    assert line.endswith("INFO it done request_id=req-1 prompt=a \N{SYMBOL FOR ESCAPE}[2Jb")
    assert os.linesep not in line

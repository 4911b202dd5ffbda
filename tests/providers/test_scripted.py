"""The provider that answers from a script."""

from dataclasses import replace

import pytest

from moa.errors import ConfigError, IdleTimedOut, ModelNotFound, ServiceFailed
from moa.providers._base import Finish, ReasoningDelta, collect
from moa.providers._endpoint import Endpoint
from moa.providers._scripted import Pause, ScriptedProvider, open_scripted
from tests.support.requests import plain_request
from tests.support.virtual_clock import loop_time, virtual_time


@virtual_time
async def test_a_script_is_played_with_its_pauses_and_ends_with_its_usage() -> None:
    provider = ScriptedProvider(["one ", Pause(2), ReasoningDelta("hm"), "two"])
    reply = await collect(provider, plain_request())

    assert (reply.text, reply.reasoning, reply.finish.reason) == ("one two", "hm", "stop")
    assert reply.finish.usage is not None
    assert reply.finish.usage.output_tokens == 2
    assert loop_time() == 2


@virtual_time
async def test_every_request_is_kept_and_replies_that_ended_early_are_counted() -> None:
    provider = ScriptedProvider(["one ", "two"])
    async with provider.stream(plain_request()) as events:
        await anext(events)
    await collect(provider, plain_request())

    assert len(provider.requests) == 2
    assert provider.left_early == 1


@virtual_time
async def test_a_pause_longer_than_the_idle_limit_breaks_a_reply_that_has_begun() -> None:
    request = replace(plain_request(), idle_timeout_s=3)
    with pytest.raises(IdleTimedOut):
        await collect(ScriptedProvider(["one", Pause(9), "two"]), request)
    assert (await collect(ScriptedProvider([Pause(9), "slow"]), request)).text == "slow"


def _endpoint(replies: object) -> Endpoint:
    return Endpoint(name="demo", kind="scripted", options={"replies": replies})


@virtual_time
async def test_a_configured_endpoint_plays_texts_pauses_and_errors() -> None:
    provider = open_scripted(_endpoint({"a": ["one ", {"pause": 1}, "two"], "b": {"error": "it broke"}}))
    assert (await collect(provider, plain_request())).text == "one two"
    with pytest.raises(ServiceFailed, match="it broke"):
        await collect(provider, replace(plain_request(), model="b"))
    with pytest.raises(ModelNotFound, match="knows only a, b"):
        await collect(provider, replace(plain_request(), model="c"))


@pytest.mark.parametrize("replies", [None, {}, [], {"a": 5}, {"a": [{"wait": 1}]}])
def test_an_endpoint_without_sensible_replies_is_refused(replies: object) -> None:
    with pytest.raises(ConfigError):
        open_scripted(_endpoint(replies))


@virtual_time
async def test_a_script_may_end_by_itself() -> None:
    reply = await collect(ScriptedProvider(["cut", Finish(reason="length"), "never"]), plain_request())

    assert (reply.text, reply.finish) == ("cut", Finish(reason="length"))

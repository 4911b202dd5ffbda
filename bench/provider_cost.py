"""CPU time of a call through the OpenAI-compatible provider, beside the same call with bare aiohttp.

Run it with `uv run python -m bench.provider_cost`. The server has a process of its own and is not counted. Read the
ratios: milliseconds depend on the machine.
"""

import asyncio
import multiprocessing
import sys
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection

import aiohttp
import orjson
from aiohttp import web

from moa._ledger import Meter
from moa._messages import Sampling, conversation
from moa._policies.metering import Metered
from moa.providers._base import ModelRequest, collect
from moa.providers._call_context import CallContext
from moa.providers._endpoint import Endpoint
from moa.providers._openai_compatible import open_openai_compatible

CHUNKS, CALLS, ROUNDS = 100, 200, 5
PROMPT = "hello there " * 20
USAGE = {"prompt_tokens": 10, "completion_tokens": CHUNKS, "total_tokens": 10 + CHUNKS}


def _event(delta: dict[str, str], finish: str | None = None, **fields: object) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + orjson.dumps({"id": "c", "created": 1, "model": "m", "choices": [choice], **fields}) + b"\n\n"


async def _serve(ready: Connection) -> None:
    stream = [*(_event({"content": f"word{i} "}) for i in range(CHUNKS)), _event({}, "stop", usage=USAGE)]
    message = {"role": "assistant", "content": "word " * CHUNKS}
    whole = orjson.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": USAGE})

    async def chat(request: web.Request) -> web.StreamResponse:
        if not orjson.loads(await request.read()).get("stream"):
            return web.Response(body=whole, content_type="application/json")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for chunk in (*stream, b"data: [DONE]\n\n"):
            await response.write(chunk)
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    ready.send(runner.addresses[0][1])
    await asyncio.Event().wait()


def _server(ready: Connection) -> None:
    asyncio.run(_serve(ready))


async def _bare(session: aiohttp.ClientSession, url: str, *, deltas: bool) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": PROMPT}], "stream": deltas}
    headers = {"Content-Type": "application/json"}
    async with session.post(f"{url}/chat/completions", data=orjson.dumps(body), headers=headers) as response:
        if not deltas:
            orjson.loads(await response.read())
            return
        async for line in response.content:
            if line.startswith(b"data: {"):
                orjson.loads(line[6:])


async def _cpu_ms(call: Callable[[], Awaitable[object]]) -> float:
    """Return milliseconds of CPU time per call: the least of some rounds."""
    rounds = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        for _ in range(CALLS):
            await call()
        rounds.append((time.process_time() - begun) / CALLS * 1000)
    return min(rounds)


async def _compare(url: str) -> None:
    provider = Metered(open_openai_compatible(Endpoint(name="lab", kind="openai", base_url=url)))

    def request(*, deltas: bool) -> ModelRequest:
        call = Meter().open_call(agent="a", model="lab/m", purpose="proposal", layer=1, price=lambda usage: None)
        return ModelRequest(
            reference="lab/m",
            model="m",
            messages=conversation(PROMPT),
            sampling=Sampling(temperature=0.7),
            deltas=deltas,
            idle_timeout_s=60,
            context=CallContext(call=call),
        )

    async with aiohttp.ClientSession() as session:
        for deltas, name in ((False, "whole reply"), (True, f"stream of {CHUNKS} chunks")):
            bare = await _cpu_ms(lambda deltas=deltas: _bare(session, url, deltas=deltas))
            ours = await _cpu_ms(lambda deltas=deltas: collect(provider, request(deltas=deltas)))
            sys.stdout.write(f"{name}: bare aiohttp {bare:.2f} ms, ours {ours:.2f} ms, {ours / bare:.2f} times\n")
    await provider.aclose()


def main() -> None:
    """Start the server and compare."""
    receiving, sending = multiprocessing.Pipe()
    server = multiprocessing.Process(target=_server, args=(sending,), daemon=True)
    server.start()
    try:
        asyncio.run(_compare(f"http://127.0.0.1:{receiving.recv()}/v1"))
    finally:
        server.terminate()


if __name__ == "__main__":
    main()

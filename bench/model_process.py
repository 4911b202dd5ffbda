"""A model server that costs next to nothing, in a process of its own, so that only its clients' work is measured."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

REPLY_TEXT = "a reply of a few words, as models give it"
USAGE = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How the server answers.

    Attributes:
        delay_s: Seconds until it answers.
        requests_per_s: It answers 429 to what goes beyond; None for no limit.
        burst_s: Seconds' worth of requests that may come at once.
        retry_after_s: What a 429 asks its client to wait, in seconds.
    """

    delay_s: float = 0.0
    requests_per_s: float | None = None
    burst_s: float = 1.0
    retry_after_s: float = 0.2


@contextmanager
def model_process(behaviour: Behaviour) -> Iterator[str]:
    """Run the server; gives the base URL of its OpenAI-style API."""
    command = [sys.executable, __file__, json.dumps(asdict(behaviour))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.terminate()


async def _serve(behaviour: Behaviour) -> None:
    loop, throttle = asyncio.get_running_loop(), Throttle(behaviour)
    server = await loop.create_server(lambda: Chat(behaviour, throttle), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class Throttle:
    """A token bucket, as services have them: it holds what may be asked within `burst_s`, and fills up steadily."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._rate, self._most = behaviour.requests_per_s, 0.0
        if self._rate is not None:
            self._most = max(1.0, self._rate * behaviour.burst_s)
        self._left, self._looked_at = self._most, 0.0

    def refuses(self, now: float) -> bool:
        """Whether a request comes too soon; else it is counted."""
        if self._rate is None:
            return False
        self._left = min(self._most, self._left + (now - self._looked_at) * self._rate)
        self._looked_at = now
        if self._left < 1:
            return True
        self._left -= 1
        return False


class Chat(asyncio.Protocol):
    """One connection: requests in, the same reply out, streamed if the request wants it."""

    def __init__(self, behaviour: Behaviour, throttle: Throttle) -> None:
        self._behaviour, self._throttle = behaviour, throttle
        self._loop = asyncio.get_running_loop()
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where replies go."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        self._received += data
        while (body := self._next_body()) is not None:
            self._answer(body)

    def _next_body(self) -> bytes | None:
        head, end, rest = self._received.partition(_HEAD_END)
        if not end:
            return None
        found = _LENGTH.search(head)
        length = int(found.group(1)) if found else 0
        if len(rest) < length:
            return None
        self._received = rest[length:]
        return rest[:length]

    def _answer(self, body: bytes) -> None:
        if self._throttle.refuses(self._loop.time()):
            self._transport.write(_throttled(self._behaviour.retry_after_s))
        else:
            reply = _STREAMED if b'"stream":true' in body.replace(b" ", b"") else _WHOLE
            self._loop.call_later(self._behaviour.delay_s, self._write, reply)

    def _write(self, reply: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(reply)


def _http(status: str, body: bytes, kind: str, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + _HEAD_END + body


def _throttled(retry_after_s: float) -> bytes:
    body = json.dumps({"error": {"message": "slow down", "code": "rate_limit_exceeded"}}).encode()
    return _http("429 Too Many Requests", body, "application/json", f"Retry-After: {retry_after_s:g}")


def _whole() -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": REPLY_TEXT}, "finish_reason": "stop"}
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": USAGE}
    return _http("200 OK", json.dumps(body).encode(), "application/json")


def _streamed() -> bytes:
    pieces = [({"role": "assistant", "content": REPLY_TEXT}, None), ({}, "stop")]
    chunks = [
        {
            "id": "x",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
        }
        for delta, reason in pieces
    ]
    events = [json.dumps(chunk) for chunk in (*chunks, {**chunks[0], "choices": [], "usage": USAGE})]
    body = "".join(f"data: {event}\n\n" for event in (*events, "[DONE]"))
    return _http("200 OK", body.encode(), "text/event-stream")


_WHOLE, _STREAMED = _whole(), _streamed()


if __name__ == "__main__":
    asyncio.run(_serve(Behaviour(**json.loads(sys.argv[1]))))

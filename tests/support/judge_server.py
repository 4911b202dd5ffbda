"""A judge on loopback whose verdict depends on nothing but what it is shown: the same for every client.

It speaks the OpenAI API, not streamed, with log probabilities and tools. It is its own thread, so that clients may
block.
"""

import hashlib
import json
import math
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self


def top_logprobs(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the five likeliest tokens for a prompt; the first name or the second or both are missing from some."""
    digest = _digest(messages)
    share, kind = (digest[0] + 0.5) / 256, digest[1]
    first, second = "AB" if "A or B" in messages[-1]["content"] else "mM"
    tokens = {first: math.log(share * 0.98), second: math.log((1 - share) * 0.98)}
    if kind < 20:
        tokens.pop(first)
    elif kind < 40:
        tokens.pop(second)
    elif kind < 50:
        tokens = {}
    others = {" m": -9.5, "Both": -10.25, "The": -11.125, "**": -12.0, "Model": -12.5}
    tokens |= dict(list(others.items())[: 5 - len(tokens)])
    ranked = sorted(tokens.items(), key=lambda entry: -entry[1])
    return [{"token": token, "logprob": value, "bytes": list(token.encode())} for token, value in ranked]


def written_verdict(messages: list[dict[str, Any]], *, as_json: bool) -> str:
    """Return a verdict in the words that a prompt asks for; one in eight is none."""
    prompt, digest = messages[-1]["content"], _digest(messages)
    if digest[1] < 32:
        return "neither convinces me"
    better = digest[0] % 2
    names = ("m", "M") if '"m"' in prompt else ("model_1", "model_2")
    ranking = [{"model": names[better], "rank": 1}, {"model": names[1 - better], "rank": 2}]
    if as_json:
        asked = {"ordered_models": ranking, "best_output": f"Output ({'ab'[better]})", "concise_explanation": "shorter"}
        return json.dumps(asked)
    if "Output (a)" in prompt:
        return f"Output ({'ab'[better]})"
    return str(ranking) if "model_1" in prompt else f"{9 - better} {8 + better}\nbecause"


def written(body: dict[str, Any], text: str) -> dict[str, Any]:
    """Return the whole completion for a request that is a text."""
    found = reply({**body, "logprobs": None, "tools": None})
    found["choices"][0]["message"]["content"] = text
    return found


def reply(body: dict[str, Any]) -> dict[str, Any]:
    """Return the whole completion for a request: one token with its alternatives, a tool call, or a text."""
    messages = body["messages"]
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    if body.get("logprobs"):
        top = top_logprobs(messages)
        token = {"token": top[0]["token"], "logprob": top[0]["logprob"], "bytes": top[0]["bytes"], "top_logprobs": top}
        thought = {"token": "So ", "logprob": -0.5, "bytes": [83, 111, 32], "top_logprobs": [top[0] | {"token": "m"}]}
        tokens = [token] if body["max_tokens"] == 1 else [thought, token]
        message["content"] = "".join(token["token"] for token in tokens)
        choice |= {"finish_reason": "length", "logprobs": {"content": tokens}}
    elif body.get("tools"):
        arguments = written_verdict(messages, as_json=True)
        function = {"name": body["tools"][0]["function"]["name"], "arguments": arguments}
        message["tool_calls"] = [{"id": "call-1", "type": "function", "function": function}]
    else:
        message["content"] = written_verdict(messages, as_json=False)
    usage = {"prompt_tokens": len(json.dumps(messages)) // 4, "completion_tokens": 1}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [choice],
        "usage": {**usage, "total_tokens": sum(usage.values())},
    }


def _digest(messages: list[dict[str, Any]]) -> bytes:
    return hashlib.sha256(json.dumps([[m["role"], m["content"]] for m in messages]).encode()).digest()


class _Listener(ThreadingHTTPServer):
    request_queue_size = 1024
    """The default of 5 drops connections of a client that asks a hundred things at once, who then waits in vain."""

    daemon_threads = True


class JudgeServer:
    """The server; `base_url` is known inside of its `with` block, `asked` holds every request's body.

    Args:
        answer: What it replies to a request's body.
    """

    def __init__(self, answer: Callable[[dict[str, Any]], dict[str, Any]] = reply) -> None:
        self.asked: list[dict[str, Any]] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked.append(body)
                assert not body.get("stream"), "verdicts are asked for whole"
                payload = json.dumps(answer(body)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *arguments: object) -> None:
                """Say nothing."""

        self._server = _Listener(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

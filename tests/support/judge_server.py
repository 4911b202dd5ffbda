"""A judge on loopback whose verdict depends on nothing but what it is shown: the same for every client.

It speaks the OpenAI API, streamed or not, with log probabilities; it is its own thread, so that clients may block.
"""

import hashlib
import json
import math
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self


def top_logprobs(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the five likeliest tokens for a prompt; m or M or both are missing from some."""
    digest = hashlib.sha256(json.dumps([[m["role"], m["content"]] for m in messages]).encode()).digest()
    share, kind = (digest[0] + 0.5) / 256, digest[1]
    tokens = {"m": math.log(share * 0.98), "M": math.log((1 - share) * 0.98)}
    if kind < 20:
        tokens.pop("m")
    elif kind < 40:
        tokens.pop("M")
    elif kind < 50:
        tokens = {}
    others = {" m": -9.5, "Both": -10.25, "The": -11.125, "**": -12.0, "Model": -12.5}
    tokens |= dict(list(others.items())[: 5 - len(tokens)])
    ranked = sorted(tokens.items(), key=lambda entry: -entry[1])
    return [{"token": token, "logprob": value, "bytes": list(token.encode())} for token, value in ranked]


def reply(body: dict[str, Any]) -> dict[str, Any]:
    """Return the whole completion for a request."""
    top = top_logprobs(body["messages"])
    token = {"token": top[0]["token"], "logprob": top[0]["logprob"], "bytes": top[0]["bytes"], "top_logprobs": top}
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": top[0]["token"]},
        "finish_reason": "length",
        "logprobs": {"content": [token]},
    }
    usage = {"prompt_tokens": len(json.dumps(body["messages"])) // 4, "completion_tokens": 1}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [choice],
        "usage": {**usage, "total_tokens": sum(usage.values())},
    }


class JudgeServer:
    """The server; `base_url` is known inside of its `with` block, `asked` holds every request's body."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked.append(body)
                assert not body.get("stream"), "verdicts are asked for whole"
                payload = json.dumps(reply(body)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *arguments: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

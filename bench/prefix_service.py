"""Model services on loopback that count what their prompt caches would serve, and bill as vendors publish.

`automatic` caches prefixes by itself (OpenAI, DeepSeek, vLLM): from 1,024 tokens on, in steps of 128. `told` caches
where a request has a `cachePoint` (Amazon Bedrock's Converse, for Claude): from 1,024 tokens on, up to the last cache
point; an earlier entry is found if it ends within the 20 blocks before a cache point. A token is four bytes.

Sources: OpenAI's, Anthropic's and Amazon Bedrock's guides to prompt caching.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

BYTES_PER_TOKEN = 4
LEAST_TOKENS = 1024
STEP_TOKENS = 128
LOOKBACK_BLOCKS = 20
ANSWER_TOKENS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request, in tokens.

    Attributes:
        prompt: All of it.
        cacheable: Its longest prefix that an earlier request of this model shared, if a service would cache that.
        read: What was read from the cache.
        written: What was written to it.
    """

    model: str
    prompt: int
    cacheable: int
    read: int
    written: int


@dataclass
class PrefixService:
    """Both services; `asked` holds every request in order."""

    knows_n: bool = True
    calls_tool: bool = False
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    _prompts: dict[str, list[str]] = field(default_factory=dict)
    _entries: dict[str, set[str]] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=100_000_000)
        app.router.add_post("/v1/chat/completions", self._automatic)
        app.router.add_post("/model/{model}/converse", self._told)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def _answer(self) -> str:
        """A text that no other answer begins like."""
        return (f"answer {len(self.asked)} " * ANSWER_TOKENS)[: ANSWER_TOKENS * BYTES_PER_TOKEN]

    def _shared(self, model: str, prompt: str) -> int:
        """Tokens of the longest prefix that an earlier request shared, 0 below the least that is cached."""
        earlier = self._prompts.setdefault(model, [])
        shared = max((_common(prompt, each) for each in earlier), default=0) // BYTES_PER_TOKEN
        earlier.append(prompt)
        return shared if shared >= LEAST_TOKENS else 0

    async def _automatic(self, request: web.Request) -> web.Response:
        body = await request.json()
        # The template of a chat: what follows a message doesn't change what stands before it.
        turns = [json.dumps(body.get("tools", []))] + [_turn(message) for message in body["messages"]]
        prompt = "".join(turns)
        shared = self._shared(body["model"], prompt)
        read = shared // STEP_TOKENS * STEP_TOKENS
        tokens = len(prompt) // BYTES_PER_TOKEN
        self.asked.append(Asked(model=body["model"], prompt=tokens, cacheable=shared, read=read, written=0))
        count = body.get("n", 1) if self.knows_n else 1
        message: dict[str, Any] = {"role": "assistant", "content": self._answer()}
        if self.calls_tool and body.get("tools"):
            call = {"id": f"call_{len(self.asked)}", "type": "function"}
            message = {"role": "assistant", "tool_calls": [call | {"function": {"name": "look", "arguments": "{}"}}]}
        usage = {
            "prompt_tokens": tokens,
            "completion_tokens": ANSWER_TOKENS * count,
            "prompt_tokens_details": {"cached_tokens": read},
        }
        choices = [{"index": at, "message": message, "finish_reason": "stop"} for at in range(count)]
        return web.json_response({"model": body["model"], "choices": choices, "usage": usage})

    async def _told(self, request: web.Request) -> web.Response:
        body, model = await request.json(), request.match_info["model"]
        blocks = [*body.get("toolConfig", {}).get("tools", []), *body.get("system", [])]
        for message in body["messages"]:
            blocks += [{"role": message["role"]}, *message["content"]]
        prompt, ends, points = "", [0], []
        for block in blocks:
            if "cachePoint" in block:
                points.append(len(ends) - 1)
            else:
                prompt += json.dumps(block)
                ends.append(len(prompt))
        shared = self._shared(model, prompt)
        entries = self._entries.setdefault(model, set())
        found = [end for point in points for end in ends[max(point - LOOKBACK_BLOCKS, 0) : point + 1]]
        read = max((end for end in found if prompt[:end] in entries), default=0)
        written = [ends[point] for point in points if ends[point] >= LEAST_TOKENS * BYTES_PER_TOKEN]
        entries.update(prompt[:end] for end in written)
        tokens = len(prompt) // BYTES_PER_TOKEN
        read, last = read // BYTES_PER_TOKEN, max(written, default=0) // BYTES_PER_TOKEN
        new = max(last - read, 0)
        self.asked.append(Asked(model=model, prompt=tokens, cacheable=shared, read=read, written=new))
        content: list[dict[str, Any]] = [{"text": self._answer()}]
        if self.calls_tool and body.get("toolConfig"):
            content = [{"toolUse": {"toolUseId": f"call_{len(self.asked)}", "name": "look", "input": {}}}]
        usage = {
            "inputTokens": tokens - read - new,
            "outputTokens": ANSWER_TOKENS,
            "cacheReadInputTokens": read,
            "cacheWriteInputTokens": new,
        }
        reason = "tool_use" if "toolUse" in content[0] else "end_turn"
        output = {"message": {"role": "assistant", "content": content}}
        return web.json_response({"output": output, "stopReason": reason, "usage": usage, "metrics": {"latencyMs": 1}})


def _turn(message: dict[str, Any]) -> str:
    return f"<{message['role']}>{message.get('content') or ''}{json.dumps(message.get('tool_calls', []))}"


def _common(one: str, other: str) -> int:
    """Characters of the common prefix of two texts."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low

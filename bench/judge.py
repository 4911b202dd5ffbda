"""What judging 805 pairs takes: minutes with a judge that needs 1.5 s a call, and dollars by today's price table.

`moa eval judge` is run as a command against a judge on loopback, both orders of each pair, which answers after 1.5 s in
the pairwise judge's form and counts a token for every four bytes of prompt and reply. The dollars are those counts at
the installed table's prices. The outputs are the original run's and Claude 3.5 Sonnet's if `--data` has them
(`../shared/alpaca_eval`; not part of this repository), else made up, as long as those are on average.
"""

import asyncio
import gzip
import json
import sys
import time
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiohttp import web

from bench.report import Row, Table, options, publish
from moa._pricing.table import BEDROCK, table_pricer
from moa._usage import TokenUsage

CALL_S = 1.5
JUDGES = (
    ("bedrock/us.moonshotai.kimi-k3", BEDROCK, "us.moonshotai.kimi-k3"),
    ("bedrock/us.anthropic.claude-haiku-5-5", BEDROCK, "us.anthropic.claude-haiku-5-5"),
    ("openai/gpt-6-luna", "openai", "gpt-6-luna"),
)
REASON = (
    "The response covers what was asked for and is correct as far as it can be checked, while the other one leaves out "
    "a part of the question and spends words on what nobody asked for."
)
INSTRUCTION, ANSWER = 165, 1650
"""Characters of a made-up instruction and answer, as the real ones have on average."""


class _JudgeServer:
    """Answers after `CALL_S` seconds and counts tokens."""

    def __init__(self, call_s: float) -> None:
        self.calls = self.input_tokens = self.output_tokens = 0
        self._call_s = call_s

    async def answer(self, request: web.Request) -> web.Response:
        body: dict[str, Any] = await request.json()
        prompt = "".join(str(message["content"]) for message in body["messages"]).encode()
        await asyncio.sleep(self._call_s)
        text = json.dumps({"reason": REASON, "verdict": ("A", "B", "tie")[sha256(prompt).digest()[0] % 3]})
        read, wrote = -(-len(prompt) // 4), -(-len(text) // 4)
        self.calls += 1
        self.input_tokens += read
        self.output_tokens += wrote
        message = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response(
            {"id": "x", "object": "chat.completion", "model": "judge", "choices": [choice], "usage": usage}
        )


def _outputs(data: Path, name: str, file: str, pairs: int) -> list[dict[str, str]]:
    path = data / file
    if path.exists():
        rows = json.loads(gzip.decompress(path.read_bytes()))
        return [{"instruction": row["instruction"], "output": row["output"], "generator": name} for row in rows[:pairs]]
    return [
        {
            "instruction": f"{n:4} ".ljust(INSTRUCTION, "i"),
            "output": f"{name} {n} ".ljust(ANSWER, "o"),
            "generator": name,
        }
        for n in range(pairs)
    ]


async def measure(data: Path, *, pairs: int, call_s: float, concurrency: int) -> tuple[Row, TokenUsage]:
    """Return the row of one judging, and the tokens of all its calls."""
    judge = _JudgeServer(call_s)
    app = web.Application(client_max_size=2**24)
    app.router.add_post("/v1/chat/completions", judge.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    port = runner.addresses[0][1]
    with TemporaryDirectory() as folder:
        here = Path(folder)
        sides = (("mixture", "aws_moa_outputs.json.gz"), ("baseline", "sonnet35_outputs.json.gz"))
        for name, file in sides:
            (here / f"{name}.json").write_text(json.dumps(_outputs(data, name, file, pairs)))
        endpoint = {
            "kind": "openai",
            "base_url": f"http://127.0.0.1:{port}/v1",
            "max_concurrency": 2 * concurrency,
        }
        (here / "moa.yaml").write_text(json.dumps({"endpoints": {"lab": endpoint}}))
        command = ("--outputs", "mixture.json", "--reference", "baseline.json", "--out", "annotations.json")
        chosen = ("--judge", "pairwise", "--judge-model", "lab/judge", "--concurrency", str(concurrency))
        begun = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "moa", "eval", "judge", *command, *chosen, "--config", "moa.yaml", cwd=here
        )
        if await process.wait():
            raise SystemExit("judging failed")
        wall = time.perf_counter() - begun
    await runner.cleanup()
    row: Row = {
        "pairs": pairs,
        "calls": judge.calls,
        "pairs at once": concurrency,
        "wall, s": wall,
        "calls' time / at once, s": judge.calls * call_s / (2 * concurrency),
        "tokens read": judge.input_tokens,
        "tokens written": judge.output_tokens,
    }
    return row, TokenUsage(input_tokens=judge.input_tokens, output_tokens=judge.output_tokens)


def prices(usage: TokenUsage) -> list[Row]:
    """Return what so many tokens cost by each judge, on average over its calls."""
    rows: list[Row] = []
    for name, provider, model in JUDGES:
        usd = table_pricer(provider, model)(usage)
        rows.append({"judge": name, "$": None if usd is None else float(usd)})
    return rows


def main() -> None:
    """Measure and publish."""
    parser = options("judge", __doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/alpaca_eval"))
    chosen = parser.parse_args()
    pairs, call_s = (20, 0.01) if chosen.quick else (805, CALL_S)
    found = [
        asyncio.run(measure(chosen.data, pairs=pairs, call_s=call_s, concurrency=at_once))
        for at_once in ((16,) if chosen.quick else (16, 64))
    ]
    tables = [
        Table(title=f"{pairs} pairs in both orders, {call_s:g} s a call", rows=[row for row, _ in found]),
        Table(title="the same by price", rows=prices(found[-1][1])),
    ]
    publish("judge", chosen.json, tables)


if __name__ == "__main__":
    main()

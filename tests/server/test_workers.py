"""`moa serve --workers`: several real processes keep one budget, and a restart does not refill it."""

import asyncio
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from moa._server.api_keys import hash_key
from tests.support.behaviours import Text
from tests.support.model_server import ModelServer

pytestmark = pytest.mark.slow

# 1,000 tokens cost a dollar.
MOA_YAML = """
endpoints:
  lab: {{kind: openai, base_url: "{url}", prices: {{"*": {{input: 1000, output: 1000}}}}}}
"""
SOLO_YAML = "name: solo\nlayers: []\naggregator: {model: lab/writer, max_tokens: 20}\n"
PATIENCE = aiohttp.ClientTimeout(total=60)
HELLO = {"model": "moa/solo", "messages": [{"role": "user", "content": "Hello"}]}


@asynccontextmanager
async def server(folder: Path, workers: int) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from moa._cli.main import main; main()", "serve", "-m", "solo.yaml"),
        *("--config", "moa.yaml", "--port", "0", "--workers", str(workers), "--api-keys-file", "keys.yaml"),
        cwd=folder,
        env={**os.environ, "XDG_STATE_HOME": str(folder / "state")},
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(60):
            while not (found := re.search(rb"listening on (http://\S+)", line := await process.stderr.readline())):
                assert line, "the server ended"
        yield process, found[1].decode()
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        await process.communicate()


async def ask(http: aiohttp.ClientSession, url: str) -> int:
    headers = {"Authorization": "Bearer k"}
    async with http.post(f"{url}/v1/chat/completions", json=HELLO, headers=headers, timeout=PATIENCE) as response:
        await response.read()
        return response.status


async def ask_until_ready(http: aiohttp.ClientSession, url: str) -> int:
    async with asyncio.timeout(30):
        while True:
            try:
                return await ask(http, url)
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)


async def test_workers_keep_one_budget_which_a_restart_does_not_refill(tmp_path: Path) -> None:
    async with ModelServer() as upstream, aiohttp.ClientSession() as http:
        upstream.behave("writer", Text("Hello there"))
        (tmp_path / "moa.yaml").write_text(MOA_YAML.format(url=upstream.base_url))
        (tmp_path / "solo.yaml").write_text(SOLO_YAML)
        (tmp_path / "keys.yaml").write_text(f"keys: [{{name: a, sha256: {hash_key('k')}, budget_usd: 0.5}}]")
        async with server(tmp_path, 2) as (_, url):
            statuses = Counter([await ask_until_ready(http, url)])
            for _ in range(8):
                statuses += Counter(await asyncio.gather(*(ask(http, url) for _ in range(25))))
        spent = (upstream.bill.input_tokens + upstream.bill.output_tokens) / 1000
        async with server(tmp_path, 1) as (_, url):
            after = {await ask_until_ready(http, url), await ask(http, url)}
        spent_after = (upstream.bill.input_tokens + upstream.bill.output_tokens) / 1000

    assert set(statuses) == {200, 402}
    assert 0.45 <= spent <= 0.5
    assert after == {402}
    assert spent_after == spent

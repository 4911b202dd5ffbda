"""A trace as an HTML page."""

import re
from contextlib import suppress
from pathlib import Path

from moa._config.settings import Settings
from moa._runtime.engine import Engine
from moa._traces.page import trace_page
from moa._traces.reading import read_trace
from moa.errors import EngineError
from moa.providers._scripted import ScriptedProvider
from tests.support.engines import mixture_of, scripted

EVIL = "</pre></script><script>alert(1)</script><img src=x onerror=alert(1)>\u202e"


async def _page(tmp_path: Path, provider: ScriptedProvider, **keys: object) -> str:
    mixture = mixture_of([{"model": "a", "name": EVIL}], name=EVIL, description=EVIL, **keys)
    async with Engine(settings=Settings(endpoints={}), providers={"fake": provider}) as engine:
        with suppress(EngineError):
            await engine.arun(mixture, EVIL, system=EVIL, trace=tmp_path / "t.jsonl")
    return trace_page(read_trace(tmp_path / "t.jsonl"))


async def test_a_page_needs_nothing_from_outside_and_has_no_script(tmp_path: Path) -> None:
    page = await _page(tmp_path, scripted({"a": EVIL, "agg": EVIL}))

    assert "<script" not in page
    assert "<img" not in page
    assert "default-src 'none'" in page
    assert not re.search(r'(src|href|action)\s*=\s*["\']?http', page)
    assert "\u202e" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 8
    assert "prefers-color-scheme: dark" in page


async def test_a_page_of_a_failed_run_tells_its_error(tmp_path: Path) -> None:
    page = await _page(tmp_path, scripted({"a": "", "agg": "done"}))

    assert "layer_failed: layer 1: 0 of 1 needed proposals arrived" in page


async def test_a_page_of_a_crashed_run_says_that_it_breaks_off(tmp_path: Path) -> None:
    await _page(tmp_path, scripted({"a": "one", "agg": "done"}))
    path = tmp_path / "t.jsonl"
    path.write_bytes(path.read_bytes()[:-100])

    assert "The trace breaks off here" in trace_page(read_trace(path))

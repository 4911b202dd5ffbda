"""Which adapter speaks to which kind of endpoint."""

import subprocess
import sys
from pathlib import Path

import pytest

from moa.errors import ConfigError
from moa.providers._endpoint import Endpoint
from moa.providers._registry import BUILT_IN, open_provider
from moa.providers._scripted import ScriptedProvider


def test_a_kind_that_nobody_provides_is_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match="'gopher' is none of openai, bedrock, local, scripted") as caught:
        open_provider(Endpoint(name="old", kind="gopher"))

    assert caught.value.key == "endpoints.old.kind"


def test_every_built_in_kind_is_listed() -> None:
    assert set(BUILT_IN) == {"openai", "bedrock", "local", "scripted"}
    assert isinstance(
        open_provider(Endpoint(name="x", kind="scripted", options={"replies": {"a": "b"}})), ScriptedProvider
    )


PLUGIN = """
from moa.providers._scripted import ScriptedProvider

def open_parrot(endpoint):
    return ScriptedProvider(lambda request: request.messages[-1].text)
"""
ENTRY_POINTS = "[moa.providers]\nparrot = parrot_plugin:open_parrot\n"
SCRIPT = """
import asyncio
from moa._runtime.engine import Engine
from moa._config.settings import Settings
from moa._mixture.loading import single
from moa.providers._endpoint import Endpoint

async def main():
    settings = Settings(endpoints={"zoo": Endpoint(name="zoo", kind="parrot")})
    async with Engine(settings=settings) as engine:
        print((await engine.arun(single("zoo/polly"), "hello")).text)

asyncio.run(main())
"""


@pytest.mark.slow
def test_another_package_adds_a_kind_by_an_entry_point(tmp_path: Path) -> None:
    (tmp_path / "parrot_plugin.py").write_text(PLUGIN)
    info = tmp_path / "parrot-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: parrot\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{SCRIPT}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("hello\n", "")

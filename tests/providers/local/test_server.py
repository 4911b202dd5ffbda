import threading
from concurrent.futures import CancelledError
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from moa.errors import MissingDependency, ModelNotFound
from moa.providers._local.server import RunningServer, Servers, ServerSettings, default_threads, llama_cpp, start_server

REFERENCE = "local//somewhere/model.gguf"
WAIT_S = 10


def settings(model: str = "/a.gguf", **fields: int) -> ServerSettings:
    return ServerSettings(model=model, **fields)


class Starter:
    """Starts pretended servers, each when `go` is set; fails while `failures` are left."""

    def __init__(self, *failures: Exception) -> None:
        self.failures, self.started = list(failures), []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, wanted: ServerSettings, reference: str) -> RunningServer:
        assert self.go.wait(WAIT_S)
        self.started.append(wanted)
        if self.failures:
            raise self.failures.pop(0)
        return RunningServer(base_url="http://127.0.0.1:1/v1", api_key=SecretStr("secret-key"), _handle=object())


def test_servers_start_one_server_for_all_who_ask_at_once() -> None:
    starter = Starter()
    starter.go.clear()
    servers = Servers(starter)

    asked = [servers.running(settings(), REFERENCE) for _ in range(5)]
    starter.go.set()

    assert len({id(future.result(WAIT_S)) for future in asked}) == 1
    assert starter.started == [settings()]


@pytest.mark.slow
@given(st.lists(st.integers(1, 3), min_size=1, max_size=8))
def test_servers_start_one_for_each_kind_of_settings(slots: list[int]) -> None:
    starter = Starter()
    servers = Servers(starter)

    for number in slots:
        servers.running(settings(slots=number), REFERENCE).result(WAIT_S)

    assert sorted(s.slots for s in starter.started) == sorted(set(slots))


def test_servers_try_again_after_a_start_that_failed() -> None:
    servers = Servers(Starter(ModelNotFound("damaged", model=REFERENCE)))
    with pytest.raises(ModelNotFound, match="damaged"):
        servers.running(settings(), REFERENCE).result(WAIT_S)

    assert servers.running(settings(), REFERENCE).result(WAIT_S).base_url == "http://127.0.0.1:1/v1"


def test_servers_hand_over_whatever_a_start_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        Servers(Starter(ZeroDivisionError())).running(settings(), REFERENCE).result(WAIT_S)


def test_servers_keep_starting_for_others_when_one_caller_goes_away() -> None:
    starter = Starter()
    starter.go.clear()
    servers = Servers(starter)
    leaving, staying = servers.running(settings(), REFERENCE), servers.running(settings(), REFERENCE)

    leaving.cancel()
    starter.go.set()

    try:
        assert staying.result(WAIT_S).base_url
    except CancelledError:
        pytest.fail("the start was cancelled for everybody")


def test_servers_stop_ends_those_that_run_and_forgets_them() -> None:
    starter = Starter()
    servers = Servers(starter)
    server = servers.running(settings(), REFERENCE).result(WAIT_S)

    servers.stop()

    assert server._handle is None
    assert servers.running(settings(), REFERENCE).result(WAIT_S) is not server


def test_running_server_never_shows_its_key() -> None:
    assert "secret-key" not in repr(Starter()(settings(), REFERENCE))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "can't be read: there is no such file"),
        (b"PK\x03\x04", "is not a GGUF file"),
        (b"", "is not a GGUF file"),
        (b"GGUF" + b"\0" * 2000, "llama.cpp can't load .*damaged"),
    ],
)
def test_start_server_refuses_a_file_that_is_no_model_without_printing(
    content: bytes | None, words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ModelNotFound, match=words) as caught:
        start_server(settings(str(path)), REFERENCE)

    assert caught.value.model == REFERENCE
    assert str(path) in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_start_server_refuses_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="can't be read: it is a folder"):
        start_server(settings(str(tmp_path)), REFERENCE)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ModuleNotFoundError("No module named 'xllamacpp'"), r'pip install "mixture-of-agents\[local\]"'),
        (ImportError("libgomp.so.1: cannot open shared object file"), r"libgomp\.so\.1.*apt-get install libgomp1"),
    ],
)
def test_llama_cpp_says_what_to_install(error: ImportError, words: str) -> None:
    def importer(name: str) -> ModuleType:
        raise error

    with pytest.raises(MissingDependency, match=words):
        llama_cpp(importer)


def test_default_threads_leaves_a_core_free_where_there_are_several() -> None:
    assert 1 <= default_threads() <= 4

"""llama.cpp's server inside this process: one for each model file and set of settings, started on first use."""

import atexit
import os
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import SecretStr

from moa._validation.file_errors import os_reason
from moa.errors import MissingDependency, ModelNotFound
from moa.providers._local.weights import embedded_weights

EMBEDDED = "smollm2-135m"
"""Id of the embedded model; any other id is the absolute path of a GGUF file."""

_GGUF_MAGIC = b"GGUF"
_SILENT = 0
_MOST_THREADS = 4


def default_threads() -> int:
    """Return how many threads compute: one fewer than the cores that we may use, from 1 to 4.

    ggml's threads wait for one another by spinning, so a thread that doesn't get its core stalls all of them. On 2
    cores the embedded model wrote 130 tokens/s with 2 threads and 85 with 1; beside one busy process 37 and 85; on a
    crowded machine 1 to 37 and 15 to 75.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(usable - 1, _MOST_THREADS))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What one server runs.

    Attributes:
        model: `EMBEDDED`, or the absolute path of a GGUF file.
        slots: Replies written side by side; more requests wait inside the server.
        context: Window of each slot, prompt and reply together, in tokens.
        threads: Threads that compute.
    """

    model: str
    slots: int = 1
    context: int = 8192
    threads: int = field(default_factory=default_threads)


@dataclass(slots=True, kw_only=True, eq=False)
class RunningServer:
    """A server that listens: its address and key, and the object that lives as long as it does."""

    base_url: str
    api_key: SecretStr
    _handle: Any = field(repr=False)

    def stop(self) -> None:
        """Stop it; llama.cpp does so when its object is gone."""
        self._handle = None


def llama_cpp(importer: Callable[[str], ModuleType] = import_module) -> ModuleType:
    """Return the library that runs models.

    Raises:
        MissingDependency: It isn't installed, or a library of the system that it needs isn't.
    """
    try:
        return importer("xllamacpp")
    except ModuleNotFoundError as error:
        raise MissingDependency.of("a local model", extra="local") from error
    except ImportError as error:
        raise MissingDependency(
            f"xllamacpp, which runs local models, can't be loaded: {error} (libgomp: apt-get install libgomp1)"
        ) from error


def start_server(settings: ServerSettings, reference: str) -> RunningServer:
    """Return a server that has loaded its model; blocks for about a second, for a first download much longer.

    Raises:
        ProviderError: The model can't be found, downloaded or loaded.
        MissingDependency: An optional package is missing.
    """
    library = llama_cpp()
    path = embedded_weights(reference) if settings.model == EMBEDDED else Path(settings.model)
    _refuse_other_files(path, reference)
    key = SecretStr(secrets.token_urlsafe(32))
    try:
        handle = library.Server(_parameters(library, settings, path, key))
    except RuntimeError as error:
        raise ModelNotFound(
            f"llama.cpp can't load {path}: the file is damaged, or of a kind it doesn't know, or needs more memory",
            model=reference,
        ) from error
    return RunningServer(base_url=f"{handle.listening_address}/v1", api_key=key, _handle=handle)


def _refuse_other_files(path: Path, reference: str) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(len(_GGUF_MAGIC))
    except OSError as error:
        raise ModelNotFound(f"{path} can't be read: {os_reason(error)}; give a GGUF file", model=reference) from error
    if magic != _GGUF_MAGIC:
        raise ModelNotFound(f"{path} is not a GGUF file: give one", model=reference)


def _parameters(library: ModuleType, settings: ServerSettings, path: Path, key: SecretStr) -> Any:
    wanted = library.CommonParams()
    wanted.model.path, wanted.model_alias = str(path), {settings.model}
    wanted.n_parallel, wanted.n_ctx = settings.slots, settings.slots * settings.context
    wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = settings.threads
    wanted.n_gpu_layers, wanted.fit_params = 0, False
    wanted.hostnames, wanted.port, wanted.api_keys = ["127.0.0.1"], 0, [key.get_secret_value()]
    wanted.ui = wanted.endpoint_slots = wanted.endpoint_metrics = wanted.endpoint_props = False
    wanted.verbosity, wanted.warmup = _SILENT, False
    # Too long a prompt is an error, never cut. And what was asked before must not touch a reply, not by a rounding: a
    # prompt of which a part comes out of the prompt cache is computed in other batches. By default 13 of 20 such
    # replies had other probabilities; with 32-bit caches and without flash attention (a sixth slower) none had, but
    # which kernel a batch gets is up to each platform.
    wanted.ctx_shift = wanted.cache_prompt = wanted.cache_idle_slots = False
    wanted.cache_ram_mib = 0
    if settings.slots > 1:
        _calm_batches(library, wanted)
    return wanted


def _calm_batches(library: ModuleType, wanted: Any) -> None:
    """Make replies depend less on what is computed beside them.

    By default llama.cpp rounds differently when several replies share a batch: 13 of 72 replies (4 slots, same seed)
    came out otherwise than alone. Without flash attention and with 32-bit caches none of those 72 did, but 2 of 15
    whose prompts of just over 512 tokens arrived together.
    """
    wanted.flash_attn_type = library.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    wanted.cache_type_k = wanted.cache_type_v = library.ggml_type.GGML_TYPE_F32


class Servers:
    """The running servers by their settings; safe to use from any thread and any event loop.

    Args:
        start: Starts one; blocks.
    """

    def __init__(self, start: Callable[[ServerSettings, str], RunningServer] = start_server) -> None:
        self._start = start
        self._lock = threading.Lock()
        self._servers: dict[ServerSettings, Future[RunningServer]] = {}

    def running(self, settings: ServerSettings, reference: str) -> Future[RunningServer]:
        """Return the server, as a future: the first caller starts it in a thread; a failed start is tried again.

        Args:
            settings: What it runs.
            reference: The model reference, for errors.
        """
        with self._lock:
            known = self._servers.get(settings)
            if known is not None and not (known.done() and known.exception()):
                return known
            coming: Future[RunningServer] = Future()
            # Said to be running, so that a caller who goes away can't cancel it for the others.
            coming.set_running_or_notify_cancel()
            self._servers[settings] = coming
        # A daemon, so that Ctrl-C during a download doesn't wait for its end.
        threading.Thread(target=self._run, args=(settings, reference, coming), name="moa-local", daemon=True).start()
        return coming

    def _run(self, settings: ServerSettings, reference: str, coming: Future[RunningServer]) -> None:
        try:
            coming.set_result(self._start(settings, reference))
        except BaseException as error:  # handed over to those who wait, or they would wait forever
            coming.set_exception(error)

    def stop(self) -> None:
        """Stop all servers that run."""
        with self._lock:
            started, self._servers = list(self._servers.values()), {}
        for server in started:
            if server.done() and not server.exception():
                server.result().stop()


PROCESS_SERVERS = Servers()
"""The servers of this process. They are a resource of the process, like its memory: a second copy of the same weights
would only slow down the first, whichever engine or event loop asks. Stopped at exit.

A forked child has the object but not its threads, and OpenMP doesn't survive a fork: start workers by `spawn`.
"""
atexit.register(PROCESS_SERVERS.stop)

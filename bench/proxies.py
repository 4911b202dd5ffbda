"""Other gateways to measure beside `moa serve`, each installed into a folder of its own in `bench/.peers`."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.peers import ENVIRONMENTS, PATIENCE_S, PeerMissing, interpreter


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What answers at a port: whose processor time counts, and what a request to it needs."""

    label: str
    port: int
    pid: int
    model: str = "zero"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How to start a gateway: its command, its environment and its requests' headers."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


_NO_KEY = "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"


def _litellm(port: int, upstream: str, folder: Path) -> Start:
    """LiteLLM's proxy with one model and none of its options; one worker, as `moa serve` has."""
    python = interpreter("litellm-proxy")[0]
    model = {"model": "openai/zero", "api_base": upstream, "api_key": "none"}
    config = folder / "litellm.yaml"
    config.write_text(json.dumps({"model_list": [{"model_name": "zero", "litellm_params": model}]}))
    command = [str(Path(python).parent / "litellm"), "--config", str(config), "--host", "127.0.0.1"]
    environment = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    }
    return Start(command=[*command, "--port", str(port)], environment=environment)


def _portkey(port: int, upstream: str, folder: Path) -> Start:
    """Portkey's gateway on Node; the service is named by each request's headers."""
    del folder
    script = _node_package("@portkey-ai/gateway") / "build" / "start-server.js"
    headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": upstream, "authorization": "Bearer none"}
    command = ["node", str(script), f"--port={port}", "--headless"]
    return Start(command=command, environment={"TRUSTED_CUSTOM_HOSTS": "127.0.0.1"}, headers=headers)


STARTS = {"litellm": _litellm, "portkey": _portkey}


@contextmanager
def proxy(name: str, port: int, upstream: str, folder: Path) -> Iterator[Target]:
    """Start a gateway in front of an OpenAI-compatible base URL; end it afterwards. It may not listen yet.

    Raises:
        PeerMissing: It can't be installed here.
    """
    start = STARTS[name](port, upstream, folder)
    with subprocess.Popen(
        start.command,
        cwd=folder,
        env={**os.environ, **start.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield Target(label=f"through {name}", port=port, pid=process.pid, headers=start.headers)
        finally:
            process.kill()


def _node_package(name: str) -> Path:
    folder = ENVIRONMENTS / name.replace("/", "-")
    package = folder / "node_modules" / name
    if not package.exists():
        if shutil.which("npm") is None:
            raise PeerMissing("npm is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--silent", "--no-fund", "--no-audit", name]
        made = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S)
        if made.returncode:
            raise PeerMissing((made.stderr.strip().splitlines() or ["npm said nothing"])[-1][:200])
    return package

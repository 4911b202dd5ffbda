"""Other packages to measure beside this one, each in an environment of its own that uv makes in `bench/.peers`."""

import subprocess
import sys
from pathlib import Path

ENVIRONMENTS = Path(__file__).parent / ".peers"

INSTALL = {
    "mixture-llm": ("mixture-llm", "openai"),
    "litellm": ("litellm",),
    "litellm-proxy": ("litellm[proxy]",),
    "optillm": ("optillm",),
}
"""What has to be installed for each. optillm brings PyTorch and more: 7 GB."""

BY_DEFAULT = ("mixture-llm", "litellm")

PATIENCE_S = 600
"""Seconds that an installation may take."""


class PeerMissing(Exception):
    """A peer can't be installed here; says why."""


def interpreter(peer: str) -> tuple[str, ...]:
    """Return the command of an interpreter that has a peer installed.

    Raises:
        PeerMissing: uv is missing, or it can't install it (no network, for instance).
    """
    folder = ENVIRONMENTS / peer
    python = folder / "bin" / "python"
    done = folder / "done"
    if not done.exists():
        _uv("venv", "--clear", "--python", sys.executable, str(folder))
        _uv("pip", "install", "--python", str(python), *INSTALL[peer])
        done.touch()
    return (str(python),)


def _uv(*arguments: str) -> None:
    try:
        made = subprocess.run(["uv", *arguments], capture_output=True, text=True, timeout=PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerMissing(f"{type(error).__name__}: {error}") from error
    if made.returncode:
        raise PeerMissing((made.stderr.strip().splitlines() or ["uv said nothing"])[-1][:200])

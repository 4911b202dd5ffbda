"""Other packages to measure beside this one, each in an environment of its own that uv makes and keeps in its cache."""

import subprocess
import sys

INSTALL = {
    "mixture-llm": ("mixture-llm", "openai"),
    "litellm": ("litellm",),
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
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    packages = [part for package in INSTALL[peer] for part in ("--with", package)]
    command = ["uv", "run", "--quiet", "--no-project", "--python", version, *packages]
    command += ["python", "-c", "import sys; print(sys.executable)"]
    try:
        made = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerMissing(f"{type(error).__name__}: {error}") from error
    if made.returncode:
        raise PeerMissing((made.stderr.strip().splitlines() or ["uv said nothing"])[-1][:200])
    return (made.stdout.strip(),)

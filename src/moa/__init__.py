"""Mixtures of language models: run them, prove that they are worth it, serve them."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moa.api import Engine
    from moa.defaults import arun, run, stream
    from moa.errors import MoaError
    from moa.ledger import Ledger
    from moa.messages import ImagePart, Message, ReplyOptions, Sampling
    from moa.mixture.loading import load, single
    from moa.mixture.schema import Mixture
    from moa.proposals import Answer, Proposal

__all__ = [
    "Answer",
    "Engine",
    "ImagePart",
    "Ledger",
    "Message",
    "Mixture",
    "MoaError",
    "Proposal",
    "ReplyOptions",
    "Sampling",
    "arun",
    "load",
    "run",
    "single",
    "stream",
]

_HOMES = {
    "Engine": "api",
    "arun": "defaults",
    "run": "defaults",
    "stream": "defaults",
    "MoaError": "errors",
    "Ledger": "ledger",
    "ImagePart": "messages",
    "Message": "messages",
    "ReplyOptions": "messages",
    "Sampling": "messages",
    "load": "mixture.loading",
    "single": "mixture.loading",
    "Mixture": "mixture.schema",
    "Answer": "proposals",
    "Proposal": "proposals",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562): `import moa` alone costs next to nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'moa' has no attribute {name!r}")
    return getattr(import_module(f"moa.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__


def load_ipython_extension(shell: Any) -> None:
    """Have a notebook show mixtures, answers and evaluations as pictures; `import moa` in a notebook has done it."""
    import_module("moa.notebook").register(shell)


if "IPython" in sys.modules and (_shell := sys.modules["IPython"].get_ipython()) is not None:
    load_ipython_extension(_shell)

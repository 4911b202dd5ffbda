"""Mixtures of language models: run them, prove that they are worth it, serve them."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moa._ledger import Ledger
    from moa._messages import ImagePart, Message, ReplyOptions, Sampling
    from moa._mixture.loading import load, single
    from moa._mixture.schema import Mixture
    from moa._results import Answer, Proposal
    from moa._runtime.default_engine import arun, run, stream
    from moa._runtime.engine import Engine
    from moa.errors import MoaError

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
    "Engine": "_runtime.engine",
    "arun": "_runtime.default_engine",
    "run": "_runtime.default_engine",
    "stream": "_runtime.default_engine",
    "MoaError": "errors",
    "Ledger": "_ledger",
    "ImagePart": "_messages",
    "Message": "_messages",
    "ReplyOptions": "_messages",
    "Sampling": "_messages",
    "load": "_mixture.loading",
    "single": "_mixture.loading",
    "Mixture": "_mixture.schema",
    "Answer": "_results",
    "Proposal": "_results",
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
    import_module("moa._notebook").register(shell)


if "IPython" in sys.modules and (_shell := sys.modules["IPython"].get_ipython()) is not None:
    load_ipython_extension(_shell)

"""Mixtures of language models: run them, prove that they are worth it, serve them.

Public are `moa`, `moa.events` (what a run yields), `moa.errors`, `moa.providers` (for authors of providers),
`moa.batch` and `moa.evaluation`. Names and modules with a leading underscore may change with any release.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from moa._lazy_imports import lazy_names

if TYPE_CHECKING:
    from moa._config.settings import Settings, load_settings
    from moa._engine.stream import RunStream
    from moa._ledger import Ledger
    from moa._messages import ImagePart, Message, ReplyOptions, Sampling, ServiceState, TextPart, ToolCall
    from moa._mixture.loading import load, single
    from moa._mixture.schema import Agent, Hedge, Layer, Mixture, Wait
    from moa._policies.budget import Budget, SpendingLimit
    from moa._policies.cache.settings import CacheSettings
    from moa._policies.shared_budget import BudgetSettings
    from moa._results import Answer, Proposal
    from moa._runtime.default_engine import SyncRunStream, arun, astream, run, stream
    from moa._runtime.engine import Engine
    from moa._runtime.health import Health, check_endpoints
    from moa._state.opening import StateSettings
    from moa.errors import MoaError

__all__ = [
    "Agent",
    "Answer",
    "Budget",
    "BudgetSettings",
    "CacheSettings",
    "Engine",
    "Health",
    "Hedge",
    "ImagePart",
    "Layer",
    "Ledger",
    "Message",
    "Mixture",
    "MoaError",
    "Proposal",
    "ReplyOptions",
    "RunStream",
    "Sampling",
    "ServiceState",
    "Settings",
    "SpendingLimit",
    "StateSettings",
    "SyncRunStream",
    "TextPart",
    "ToolCall",
    "Wait",
    "arun",
    "astream",
    "check_endpoints",
    "load",
    "load_settings",
    "run",
    "single",
    "stream",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "._config.settings": ("Settings", "load_settings"),
        "._engine.stream": ("RunStream",),
        "._ledger": ("Ledger",),
        "._messages": ("ImagePart", "Message", "ReplyOptions", "Sampling", "ServiceState", "TextPart", "ToolCall"),
        "._mixture.loading": ("load", "single"),
        "._mixture.schema": ("Agent", "Hedge", "Layer", "Mixture", "Wait"),
        "._policies.budget": ("Budget", "SpendingLimit"),
        "._policies.cache.settings": ("CacheSettings",),
        "._policies.shared_budget": ("BudgetSettings",),
        "._results": ("Answer", "Proposal"),
        "._runtime.default_engine": ("SyncRunStream", "arun", "astream", "run", "stream"),
        "._runtime.engine": ("Engine",),
        "._runtime.health": ("Health", "check_endpoints"),
        "._state.opening": ("StateSettings",),
        ".errors": ("MoaError",),
    },
)


def load_ipython_extension(shell: Any) -> None:
    """Have a notebook show mixtures, answers and evaluations as pictures; `import moa` in a notebook does it too."""
    import_module("moa._notebook").register(shell)


if "IPython" in sys.modules and (_shell := sys.modules["IPython"].get_ipython()) is not None:
    load_ipython_extension(_shell)

"""How one model is called; public for authors of providers.

A provider is any class with `takes_seed`, `stream(request)` and `aclose()`, as `Provider` describes. It is given to an
engine (`moa.Engine(providers={"zoo": ZooProvider()})`) or found by a settings file through the entry point group
`moa.providers`. `ScriptedProvider` plays replies in tests.
"""

from typing import TYPE_CHECKING

from moa._lazy_imports import lazy_names

if TYPE_CHECKING:
    from moa._messages import Conversation
    from moa._pricing.price import Price
    from moa._usage import TokenUsage
    from moa.providers._base import (
        Finish,
        ModelRequest,
        Provider,
        ReasoningDelta,
        Reply,
        ReplyEvent,
        ReplyFold,
        ReplyStream,
        Restarted,
        TextDelta,
        ToolCallDelta,
        collect,
    )
    from moa.providers._endpoint import BatchSettings, BreakerSettings, Endpoint, LimitSettings, RetrySettings
    from moa.providers._scripted import Pause, Script, ScriptedProvider, Step

__all__ = [
    "BatchSettings",
    "BreakerSettings",
    "Conversation",
    "Endpoint",
    "Finish",
    "LimitSettings",
    "ModelRequest",
    "Pause",
    "Price",
    "Provider",
    "ReasoningDelta",
    "Reply",
    "ReplyEvent",
    "ReplyFold",
    "ReplyStream",
    "Restarted",
    "RetrySettings",
    "Script",
    "ScriptedProvider",
    "Step",
    "TextDelta",
    "TokenUsage",
    "ToolCallDelta",
    "collect",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "moa._messages": ("Conversation",),
        "moa._pricing.price": ("Price",),
        "moa._usage": ("TokenUsage",),
        "._base": (
            "Finish",
            "ModelRequest",
            "Provider",
            "ReasoningDelta",
            "Reply",
            "ReplyEvent",
            "ReplyFold",
            "ReplyStream",
            "Restarted",
            "TextDelta",
            "ToolCallDelta",
            "collect",
        ),
        "._endpoint": ("BatchSettings", "BreakerSettings", "Endpoint", "LimitSettings", "RetrySettings"),
        "._scripted": ("Pause", "Script", "ScriptedProvider", "Step"),
    },
)

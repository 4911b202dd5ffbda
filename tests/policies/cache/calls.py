"""Calls, entries and stores that the cache's tests share."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from moa._messages import Message
from moa._policies.cache.entry import Entry
from moa._policies.cache.settings import CacheMode, CacheSettings
from moa._usage import TokenUsage
from moa.providers._base import Finish, ModelRequest, TextDelta
from moa.providers._call_context import CallContext
from moa.providers._endpoint import Endpoint

LAB = Endpoint(name="lab", kind="openai", base_url="http://127.0.0.1:9/v1")
USED = TokenUsage(input_tokens=10, output_tokens=5)


def asked(prompt: str = "hi", **changes: Any) -> ModelRequest:
    """A request at `lab/small`."""
    messages = (Message(role="user", content=prompt),)
    if "sample" in changes:
        changes["context"] = CallContext(sample=changes.pop("sample"))
    return ModelRequest(**{"reference": "lab/small", "model": "small", "messages": messages, **changes})


def entry(text: str = "hello") -> Entry:
    """A kept reply."""
    reply = (TextDelta(text), Finish(reason="stop", usage=USED))
    return Entry(model="lab/small", reply=reply, stored_at=datetime(2025, 1, 2, tzinfo=UTC), cost_usd=Decimal("0.001"))


def settings(path: Path, mode: CacheMode = "read_write", max_size_mb: int = 10) -> CacheSettings:
    """Settings of a small cache."""
    return CacheSettings(path=path, mode=mode, max_size_mb=max_size_mb)


def key(number: int) -> str:
    """A key that looks like one."""
    return f"{number:064x}"

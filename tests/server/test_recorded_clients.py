"""What real clients send, by its shape: written by `scripts/try_clients.py --record tests/data/clients`."""

import json
from pathlib import Path
from typing import Any

import pytest

from moa._server.api.apis import APIS
from moa._server.api.conversations import Conversations
from moa._state.memory import MemoryStore

RECORDED = Path(__file__).parent.parent / "data" / "clients"
REQUESTS = [
    pytest.param(entry, id=f"{path.stem}-{number}")
    for path in sorted(RECORDED.glob("*.json"))
    for number, entry in enumerate(json.loads(path.read_text()))
]


def test_every_client_was_recorded_with_a_tools_result_and_a_picture() -> None:
    for path in RECORDED.glob("*.json"):
        text = path.read_text()
        assert "data:image/png" in text or '"type": "image"' in text, path.name
        assert any(word in text for word in ('"role": "tool"', "tool_result", "function_call_output")), path.name


@pytest.mark.parametrize("entry", REQUESTS)
async def test_a_request_as_a_real_client_sends_it_is_taken(entry: dict[str, Any]) -> None:
    [api] = [api for api in APIS if api.path == entry["path"]]
    conversations = Conversations(MemoryStore(), "alice")
    # Texts are replaced, ids too: what a client refers to is this item.
    await conversations.put({"text": {"type": "message", "role": "assistant", "content": "An earlier answer"}})

    request = api.read(await api.looked_up(entry["body"], conversations))

    assert request.messages
    assert len(request.options.tools) <= len(entry["body"].get("tools") or ()) + 20

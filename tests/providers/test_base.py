import pytest

from moa._messages import ToolCall
from moa.errors import BrokenReply
from moa.providers._base import Finish, ReasoningDelta, ReplyEvent, ReplyFold, TextDelta, ToolCallDelta

END = Finish(reason="stop")
IN_PIECES: list[ReplyEvent] = [
    ReasoningDelta("hm "),
    TextDelta("a", ({"token": "a"},)),
    ToolCallDelta(index=1, id="c1", name="g", arguments="{"),
    ReasoningDelta("hm"),
    TextDelta("b", ({"token": "b"},)),
    ToolCallDelta(index=0, id="c0", name="f"),
    ToolCallDelta(index=1, arguments="}"),
    END,
]
WHOLE: list[ReplyEvent] = [
    ReasoningDelta("hm hm"),
    TextDelta("ab", ({"token": "a"}, {"token": "b"})),
    ToolCallDelta(index=0, id="c0", name="f"),
    ToolCallDelta(index=1, id="c1", name="g", arguments="{}"),
    END,
]


def folded(events: list[ReplyEvent]) -> ReplyFold:
    fold = ReplyFold()
    for event in events:
        fold.add(event)
    return fold


def test_fold_gives_the_same_reply_for_pieces_and_for_the_whole() -> None:
    reply = folded(IN_PIECES).reply("lab/small")

    assert reply == folded(WHOLE).reply("lab/small")
    assert (reply.text, reply.reasoning, reply.finish) == ("ab", "hm hm", END)
    assert reply.tool_calls == (
        ToolCall(id="c0", name="f", arguments=""),
        ToolCall(id="c1", name="g", arguments="{}"),
    )


def test_fold_without_an_end_is_a_broken_reply() -> None:
    with pytest.raises(BrokenReply, match="lab/small"):
        folded(IN_PIECES[:-1]).reply("lab/small")


def test_fold_tells_everything_that_was_written_so_far() -> None:
    assert folded(IN_PIECES[:5]).written == "abhm hmg{"


@pytest.mark.parametrize(
    ("events", "empty"),
    [
        ([END], True),
        ([TextDelta(" \n"), END], True),
        ([ReasoningDelta("hm"), END], True),
        ([TextDelta("a"), END], False),
        ([ToolCallDelta(index=0, id="c", name="f"), END], False),
    ],
)
def test_reply_is_empty_without_text_and_tool_calls(events: list[ReplyEvent], empty: bool) -> None:
    assert folded(events).reply("lab/small").is_empty is empty

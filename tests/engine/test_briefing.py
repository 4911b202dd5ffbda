"""How what an agent reads is laid out as messages, and what services can cache of it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moa._engine.briefing import Briefing, lay_out
from moa._messages import Conversation, ImagePart, Message, TextPart, ToolCall, last_user_turn, message_dict

TEXT = st.text(min_size=1, max_size=8).filter(str.strip)
PROPOSALS = "Responses from models:"


def _user(text: str) -> Message:
    return Message(role="user", content=text)


def _call(name: str = "c1") -> Message:
    return Message(role="assistant", tool_calls=(ToolCall(id=name, name="look", arguments="{}"),))


def _result(name: str = "c1") -> Message:
    return Message(role="tool", tool_call_id=name, content="found")


@st.composite
def _turns(draw: st.DrawFn) -> list[list[Message]]:
    """A conversation by its user turns: what a person wrote, then steps of tools, then the answer."""
    turns = []
    for turn in range(draw(st.integers(1, 4))):
        steps = range(draw(st.integers(0, 3)))
        loop = [message for step in steps for message in (_call(f"c{turn}-{step}"), _result(f"c{turn}-{step}"))]
        turns.append([_user(draw(TEXT)), *loop, Message(role="assistant", content=draw(TEXT))])
    return turns


@settings(max_examples=50)
@given(_turns(), st.none() | TEXT, st.booleans())
def test_the_next_turns_request_begins_with_this_one_up_to_what_the_person_wrote(
    turns: list[list[Message]], role: str | None, with_system: bool
) -> None:
    system = [Message(role="system", content="Be brief.")] if with_system else []
    earlier: list[dict[str, object]] | None = None
    for number, turn in enumerate(turns):
        before = [message for each in turns[:number] for message in each]
        talk = (*system, *before, turn[0])
        laid_out = lay_out(Briefing(conversation=talk, role=role, proposals=f"{PROPOSALS} {number}"))
        sent = [message_dict(message) for message in laid_out]

        assert sent[-1]["content"] == f"{PROPOSALS} {number}"
        if earlier is not None:
            assert sent[: len(earlier)] == earlier
        earlier = sent[:-1]


@settings(max_examples=50)
@given(_turns(), st.none() | TEXT)
def test_inside_of_a_tool_loop_a_request_begins_with_the_whole_one_before_it(
    turns: list[list[Message]], role: str | None
) -> None:
    before = [message for each in turns[:-1] for message in each]
    loop = turns[-1][:-1]
    earlier: Conversation = ()
    for step in range(1, len(loop) + 1, 2):
        sent = lay_out(Briefing(conversation=(*before, *loop[:step]), role=role, proposals=PROPOSALS))

        assert sent[: len(earlier)] == earlier
        assert [message for message in sent if PROPOSALS in message.text] == [_user(PROPOSALS)]
        earlier = sent


def test_with_the_system_layout_proposals_follow_the_role_in_the_system_message() -> None:
    talk = (Message(role="system", content="Be brief."), _user("hi"))

    sent = lay_out(Briefing(conversation=talk, role="An editor.", proposals=PROPOSALS, layout="system"))

    assert sent == (Message(role="system", content=f"Be brief.\n\nAn editor.\n\n{PROPOSALS}"), _user("hi"))


def test_without_proposals_and_role_the_conversation_is_sent_as_it_is() -> None:
    talk = (_user("hi"),)

    assert lay_out(Briefing(conversation=talk)) is talk


IMAGE = ImagePart(data=b"x", media_type="image/png")
REMINDER = "<system-reminder>\nThe list of tasks is empty.\n</system-reminder>"


@pytest.mark.parametrize(
    ("more", "at"),
    [
        ([], 0),
        ([_call(), _result()], 0),
        ([_call(), _result(), _user("stop that")], 3),
        ([_call(), _result(), _user(REMINDER)], 0),
        ([_call(), _result(), _user(f"{REMINDER}\nand now?")], 3),
        ([_call(), _result(), Message(role="user", content=(TextPart(text=REMINDER), IMAGE))], 0),
        ([Message(role="assistant", content="done"), _user(REMINDER)], 2),
        ([Message(role="assistant", content="done"), Message(role="user", content=(IMAGE,))], 2),
        ([Message(role="assistant", content="as begun")], 0),
    ],
)
def test_the_last_user_turn_is_what_a_person_wrote_last(more: list[Message], at: int) -> None:
    assert last_user_turn((_user("hi"), *more)) == at


def test_a_conversation_in_which_nobody_wrote_anything_ends_where_it_ends() -> None:
    assert last_user_turn((Message(role="system", content="Write."),)) == 0

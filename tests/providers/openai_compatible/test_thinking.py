import pytest
from hypothesis import given
from hypothesis import strategies as st

from moa.providers._base import Finish, ReplyFold, TextDelta
from moa.providers._openai_compatible.thinking import ThoughtSplitter


def split(*pieces: str) -> tuple[str, str]:
    """Return reasoning and text."""
    splitter, fold = ThoughtSplitter(), ReplyFold()
    for event in [event for piece in pieces for event in splitter.feed(piece)] + splitter.end():
        fold.add(event)
    fold.add(Finish(reason="stop"))
    reply = fold.reply("lab/small")
    return reply.reasoning, reply.text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("plain text", ("", "plain text")),
        ("<think>hm</think>\n\nyes", ("hm", "yes")),
        ("\n<think>\nhm\n</think>yes", ("\nhm\n", "yes")),
        ("<think></think>yes", ("", "yes")),
        ("<think>never closed, so no text", ("never closed, so no text", "")),
        ("<think>a</thin", ("a</thin", "")),
        ("<think>a</think>b<think>c</think>", ("a", "b<think>c</think>")),
        ("see <think>this</think>", ("", "see <think>this</think>")),
        ("<thin", ("", "<thin")),
        ("  \n", ("", "  \n")),
        ("", ("", "")),
        ("  indented", ("", "  indented")),
    ],
)
def test_splitter_tells_thoughts_from_text_however_the_content_is_broken(
    content: str, expected: tuple[str, str]
) -> None:
    assert split(content) == expected
    assert split(*content) == expected
    assert {split(content[:cut], content[cut:]) for cut in range(len(content) + 1)} == {expected}


@given(st.lists(st.sampled_from(["<think>", "</think>", "<", "/", "think", ">", " ", "\n", "a", "é"]), max_size=12))
def test_splitter_loses_nothing_but_tags_and_white_space(pieces: list[str]) -> None:
    whole = "".join(pieces)

    reasoning, text = split(*pieces)

    assert (reasoning, text) == split(whole)
    begun = whole.lstrip()
    if begun.startswith("<think>"):
        thoughts, _, rest = begun.removeprefix("<think>").partition("</think>")
        assert (reasoning, text) == (thoughts, rest.lstrip())
    else:
        assert (reasoning, text) == ("", whole)


def test_splitter_keeps_the_log_probabilities_of_the_text_only() -> None:
    splitter = ThoughtSplitter()
    tokens = ["<thi", "nk>", "hm", "</think>", "\n", "y", "es"]

    events = [event for token in tokens for event in splitter.feed(token, ({"token": token},))] + splitter.end()

    logprobs = [entry["token"] for event in events if isinstance(event, TextDelta) for entry in event.logprobs]
    assert logprobs == ["y", "es"]

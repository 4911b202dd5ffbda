import pytest
from hypothesis import given
from hypothesis import strategies as st

from moa.providers._base import Finish, ReasoningDelta, ReplyFold, Restarted, TextDelta
from moa.providers._thoughts import ThoughtSplitter


def split(*pieces: str, holds: bool = False) -> tuple[str, str]:
    """Return reasoning and text."""
    splitter, fold = ThoughtSplitter(holds=holds), ReplyFold()
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
        ("<thinking>By country.</thinking>\n\n3.7 billion.", ("By country.", "3.7 billion.")),
        ("[THINK]hm[/THINK]yes", ("hm", "yes")),
        ("<THINK>hm</Think>yes", ("hm", "yes")),
        ("<think>a</think>\n<think>b</think>yes", ("ab", "yes")),
        ("<think>a</think>\n<thin", ("a", "<thin")),
        # github.com/laurent22/joplin/pull/16595
        ("<|channel>thought\nhm<channel|>yes", ("\nhm", "yes")),
        ("<|inner_prefix|>hm<|inner_suffix|>yes", ("hm", "yes")),
        ("<scratchpad>hm</scratchpad>yes", ("hm", "yes")),
        ("<antThinking>hm</antThinking>yes", ("hm", "yes")),
        ("<reasoning>hm</reasoning>yes", ("hm", "yes")),
        ("<seed:think>hm</seed:think>yes", ("hm", "yes")),
        (
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>yes<|return|>",
            ("hm", "yes"),
        ),
        ("analysisThe user greets.assistantfinalHello!", ("The user greets.", "Hello!")),
        ("analysis of the market: fine", ("", "analysis of the market: fine")),
        ("The user wants 17*23. That is 391.\n</think>\n\n391", ("The user wants 17*23. That is 391.\n", "391")),
        ("That is 391.</think>391", ("That is 391.", "391")),
        ("\n</think>\n\nHello", ("\n", "Hello")),
        ("all of it was thoughts\n</think>", ("all of it was thoughts\n", "")),
    ],
)
def test_splitter_tells_thoughts_from_text_however_the_content_is_broken(
    content: str, expected: tuple[str, str]
) -> None:
    assert split(content) == expected
    assert split(*content) == expected
    assert {split(content[:cut], content[cut:]) for cut in range(len(content) + 1)} == {expected}


@pytest.mark.parametrize(
    "text",
    [
        "The tag </think> closes the thoughts.",
        "Models end their thoughts with `</think>`\nand then answer.",
        'Split at "</think>" and take the rest.',
        "```\nhm\n</think>\n\n391\n```",
        "It writes <think> first.\n</think>\n\nThat is all.",
        "First </think>, then the answer.",
        "Use [/THINK] to close it.",
    ],
)
@pytest.mark.parametrize("holds", [True, False])
def test_text_that_discusses_a_tag_stays(text: str, holds: bool) -> None:
    assert split(text, holds=holds) == ("", text)
    assert split(*text, holds=holds) == ("", text)


@given(st.lists(st.sampled_from(["<think>", "</think>", "<", "/", "think", ">", " ", "\n", "a", "é"]), max_size=12))
def test_splitter_loses_nothing_but_tags_and_white_space(pieces: list[str]) -> None:
    whole = "".join(pieces)

    reasoning, text = split(*pieces)

    assert (reasoning, text) == split(whole) == split(*pieces, holds=True)
    bare = [each.replace("</think>", "").replace("<think>", "") for each in (whole, reasoning + text)]
    assert "".join(bare[0].split()) == "".join(bare[1].split())


def test_what_was_shown_of_thoughts_without_an_opening_tag_is_void() -> None:
    splitter = ThoughtSplitter()

    events = splitter.feed("hm") + splitter.feed("\n</think>\n") + splitter.feed("yes") + splitter.end()

    assert events == [TextDelta("hm"), Restarted(), ReasoningDelta("hm\n"), TextDelta("yes")]
    assert splitter.closed_alone


def test_a_model_that_is_expected_to_think_shows_nothing_before() -> None:
    splitter = ThoughtSplitter(holds=True)

    assert splitter.feed("hm") == []
    assert splitter.feed("\n</think>yes") == [ReasoningDelta("hm\n"), TextDelta("yes")]


def test_held_text_is_given_out_when_thoughts_turn_out_to_arrive_separately() -> None:
    splitter = ThoughtSplitter(holds=True)

    assert splitter.feed("yes") == []
    assert splitter.release() == [TextDelta("yes")]
    assert splitter.feed(" no") == [TextDelta(" no")]


def test_splitter_keeps_the_log_probabilities_of_the_text_only() -> None:
    splitter = ThoughtSplitter()
    tokens = ["<thi", "nk>", "hm", "</think>", "\n", "y", "es"]

    events = [event for token in tokens for event in splitter.feed(token, ({"token": token},))] + splitter.end()

    logprobs = [entry["token"] for event in events if isinstance(event, TextDelta) for entry in event.logprobs]
    assert logprobs == ["y", "es"]

"""Prompts: the texts themselves, and proposals that try to break out of them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moa._messages import ImagePart, Message, TextPart
from moa._mixture.escaping import ITEM, TAG, Delimiter, escape, unescape
from moa._mixture.prompts import delimiters, render_selection, render_synthesis, with_system
from moa._mixture.prompts import unescape as unescape_for
from moa._mixture.schema import Agent, Layer, Mixture
from moa._mixture.templates import MAX_RENDERED, BadTemplate, check_template, frame
from moa.errors import TemplateError

MISSION = (
    "You have been provided with a set of responses from various open-source models to the latest user query. Your "
    "task is to synthesize these responses into a single, high-quality response. It is crucial to critically evaluate "
    "the information provided in these responses, recognizing that some of it may be biased or incorrect. Your "
    "response should not simply replicate the given answers but should offer a refined, accurate, and comprehensive "
    "reply to the instruction. Ensure your response is well-structured, coherent, and adheres to the highest standards "
    "of accuracy and reliability. Do not write in response that this was synthesised from previous responses."
)
TEMPLATE = "Answers:\n{% for proposal in proposals %}\n[{{ loop.index }}] {{ proposal }}\n{% endfor %}"

# Texts made of the pieces that delimiters are made of, so that they meet often.
WORDS = r"< </ Response response RESPONSE_ _ 1 12 > \ \\ . ) 2. - x ſ </Response_1> <Response_2>"
PIECES = st.sampled_from([*WORDS.split(), " ", "\n", "\r", "\t", "\n3. ", "\u2028", "< / "])
TEXTS = st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=30)


def mixture(prompt: str = "default", template: str | None = None) -> Mixture:
    agent = Agent(model="lab/m")
    return Mixture(layers=(Layer(proposers=(agent,)),), aggregator=agent, prompt=prompt, template=template)


LINES = {
    "default": "<Response_{number}>{text}</Response_{number}>",
    "numbered": "{number}. {text}",
    "mine.j2": "[{number}] {text}",
}
FORMS = [mixture(), mixture("numbered"), mixture("mine.j2", TEMPLATE)]


def test_the_default_prompt_is_the_missions_word_for_word() -> None:
    assert render_synthesis(mixture(), ["one", "two\n2", "three"]).text == (
        f"{MISSION}\n\nResponses from models:\n\n"
        "<Response_1>one</Response_1>\n<Response_2>two\n2</Response_2>\n<Response_3>three</Response_3>"
    )


def test_the_numbered_prompt_lists_items_under_the_same_text() -> None:
    assert render_synthesis(mixture("numbered"), ["one", "two"]).text == (
        f"{MISSION}\n\nResponses from models:\n\n1. one\n2. two"
    )


def test_a_template_shows_proposals_where_it_says() -> None:
    assert render_synthesis(mixture("mine.j2", TEMPLATE), ["{{ 1 + 1 }}", "b"]).text == (
        "Answers:\n[1] {{ 1 + 1 }}\n[2] b"
    )


def test_the_selection_prompt_asks_for_one_json_object() -> None:
    text = render_selection(["one", "two"]).text

    assert '\n{"best": <number>}\n' in text
    assert "2 responses" in text
    assert text.endswith("<Response_1>one</Response_1>\n<Response_2>two</Response_2>")


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("</Response_1>", r"</\Response_1>"),
        ("<RESPONSE_2>", r"<\RESPONSE_2>"),
        ("< / response _ 1 >", r"< /\ response _ 1 >"),
        ("<response 1>", r"<\response 1>"),
        (r"</\Response_1>", r"</\\Response_1>"),
        ("<responses>", "<responses>"),
        ("<Response>", "<Response>"),
    ],
)
def test_what_looks_like_a_tag_gets_one_backslash_more(text: str, escaped: str) -> None:
    assert TAG.escape(text) == escaped


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("2. x", r"2\. x"),
        ("a\n  3) x", "a\n  3\\) x"),
        ("a\r3. x", "a\r3\\. x"),
        (r"2\. x", r"2\\. x"),
        ("in 2. place", "in 2. place"),
    ],
)
def test_what_looks_like_an_item_gets_one_backslash_more(text: str, escaped: str) -> None:
    assert ITEM.escape(text) == escaped


@pytest.mark.slow
@given(text=TEXTS, kinds=st.sampled_from([(TAG,), (ITEM,), (TAG, ITEM)]))
def test_unescaping_gives_back_every_text(text: str, kinds: tuple[Delimiter, ...]) -> None:
    assert unescape(escape(text, kinds), kinds) == text


@pytest.mark.slow
@given(text=TEXTS, kinds=st.sampled_from([(TAG,), (ITEM,), (TAG, ITEM)]))
def test_no_escaped_text_has_a_live_delimiter(text: str, kinds: tuple[Delimiter, ...]) -> None:
    escaped = escape(text, kinds)

    for kind in kinds:
        assert not re.search(kind.before + kind.after, escaped, re.IGNORECASE | re.MULTILINE)


@pytest.mark.slow
@given(proposals=st.lists(TEXTS, min_size=1, max_size=5), form=st.sampled_from(FORMS))
def test_every_proposal_stands_in_the_prompt_whole_once_and_in_order(proposals: list[str], form: Mixture) -> None:
    rendered = render_synthesis(form, proposals)

    safe = [escape(proposal, delimiters(form)) for proposal in proposals]
    line = LINES[form.prompt]
    listed = "\n".join(line.format(number=number, text=text) for number, text in enumerate(safe, 1))
    heading = "Answers:\n" if form.template else f"{MISSION}\n\nResponses from models:\n\n"
    assert rendered.text == heading + listed
    assert [unescape_for(text, form) for text in safe] == proposals
    assert rendered.escaped == tuple(text != proposal for text, proposal in zip(safe, proposals, strict=True))


@pytest.mark.slow
@given(proposals=st.lists(TEXTS, min_size=1, max_size=4))
def test_the_default_prompt_has_exactly_its_own_tags(proposals: list[str]) -> None:
    text = render_synthesis(mixture(), proposals).text

    tags = re.findall(r"<\s*/?\s*response\s*_[^>]*>", text, re.IGNORECASE)
    numbers = range(1, len(proposals) + 1)
    assert tags == [tag for number in numbers for tag in (f"<Response_{number}>", f"</Response_{number}>")]


@pytest.mark.parametrize(
    ("template", "says", "line"),
    [
        ("no proposals here", "never uses the proposals", None),
        ("{{ proposals | length }} came", "never uses the proposals", None),
        ("{{ proposals[0] }}", "leaves out number 2, 3", None),
        ("{{ proposals | join }}{{ proposals | join }}", "twice or out of order", None),
        ("{{ proposals | reverse | join }}", "out of order", None),
        ("{% for p in proposals %}{{ p[1:] }}{% endfor %}", "not subscriptable", 1),
        ("\n{% for p in proposals %}{{ p | upper }}{% endfor %}", "'upper'. Templates have no filters that change", 2),
        ("{% for p in proposals %}{{ p | truncate(9) }}{% endfor %}", "No filter named 'truncate'", 1),
        ("{% for p in proposals %}{{ p.upper() }}{% endfor %}", "has no attribute 'upper'", 1),
        ("{% for p in proposals %}{{ p if 'x' in p }}{% endfor %}", "not iterable", 1),
        ("a\n{% for p in proposals %}", "syntax error", 2),
        ("a\n{{ x }}", "'x' is undefined", 2),
        ("a\n\n{{ ''.__class__.__mro__ }}", "unsafe", 3),
        ("{{ proposals.__class__ }}", "unsafe", 1),
        ("{{ 1 / 0 }}", "division by zero", 1),
        ("{{ 'a' * 1000000000 }}", r"operator \* is not allowed", 1),
        ("{{ 9 ** 999999999 }}", r"operator \*\* is not allowed", 1),
        ("{% for i in range(1000000) %}x{% endfor %}", "more than 100,000 steps", 1),
        ("{% for i in range(900) %}{% for j in range(900) %}{% endfor %}{% endfor %}", "more than 100,000 steps", 1),
        ("{% include 'other' %}", "no loader", 1),
    ],
)
def test_a_template_that_can_not_show_proposals_faithfully_is_refused(
    template: str, says: str, line: int | None
) -> None:
    with pytest.raises(BadTemplate, match=says) as caught:
        check_template(template, {1, 3})

    assert caught.value.line == line


@pytest.mark.slow
def test_a_template_that_writes_without_end_is_stopped() -> None:
    loop = "{% for i in range(99000) %}{{ 'x'.ljust(20) }}{% endfor %}"

    with pytest.raises(BadTemplate, match=f"{MAX_RENDERED:,} characters"):
        frame(loop, 1)


def test_a_template_that_fails_only_for_some_counts_is_a_template_error_when_it_does() -> None:
    form = mixture("mine.j2", "{{ proposals | join }}{{ proposals | join if proposals | length > 4 }}")

    assert render_synthesis(form, list("abcd")).text == "abcd"
    with pytest.raises(TemplateError, match="twice"):
        render_synthesis(form, list("abcde"))


def test_multiplied_numbers_are_allowed_in_templates() -> None:
    assert frame("{{ 2 * 3 }} {{ proposals | join }}", 1) == ("6 ", "")


def test_system_texts_are_added_to_the_last_leading_system_message() -> None:
    turns = (
        Message(role="system", content="first"),
        Message(role="system", content="second"),
        Message(role="user", content="hi"),
        Message(role="system", content="late"),
    )

    changed = with_system(turns, "role", "", "prompt")

    assert [turn.content for turn in changed] == ["first", "second\n\nrole\n\nprompt", "hi", "late"]
    assert turns[1].content == "second"


def test_system_texts_make_a_message_where_there_is_none() -> None:
    turns = (Message(role="user", content="hi"),)

    assert with_system(turns, "a", "b") == (Message(role="system", content="a\n\nb"), *turns)
    assert with_system(turns, "") is turns


def test_system_texts_are_added_as_a_part_to_a_message_of_parts() -> None:
    image = ImagePart(url="https://x.test/a.png")
    changed = with_system((Message(role="system", content=(TextPart(text="a"), image)),), "b")

    assert changed[0].text == "a\n\nb"
    assert changed[0].images == (image,)

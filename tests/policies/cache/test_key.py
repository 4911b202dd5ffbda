"""Which calls are the same call."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from moa._messages import ImagePart, Message, ReplyOptions, Sampling, ServiceState, TextPart, ToolCall
from moa._policies.cache.key import cache_key, request_digest
from moa.providers._call_context import CallContext
from tests.policies.cache.calls import LAB, asked

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
MAPPINGS = st.dictionaries(st.text(max_size=3), JSON, max_size=2)
SAMPLING = st.builds(
    Sampling,
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0, 1),
    top_k=st.none() | st.integers(1, 300),
    max_tokens=st.none() | st.integers(1, 99),
    stop=st.lists(st.text(min_size=1, max_size=3), max_size=2).map(tuple),
    seed=st.none() | st.integers(0, 2**31),
    reasoning_effort=st.none() | st.sampled_from(["low", "high"]),
    extra=MAPPINGS,
)
OPTIONS = st.builds(
    ReplyOptions,
    tools=st.lists(MAPPINGS, max_size=2).map(tuple),
    tool_choice=st.none() | st.sampled_from(["auto", "none"]),
    response_format=st.none() | MAPPINGS,
    top_logprobs=st.none() | st.integers(0, 5),
)
IMAGES = st.builds(ImagePart, data=st.binary(min_size=1, max_size=4), media_type=st.just("image/png"))
MESSAGES = st.lists(
    st.builds(
        Message,
        role=st.sampled_from(["system", "user", "assistant"]),
        content=st.text(max_size=5) | st.tuples(st.builds(TextPart, text=st.text(max_size=3)), IMAGES),
        name=st.none() | st.text(min_size=1, max_size=3),
    ),
    min_size=1,
    max_size=3,
).map(tuple)
CONTENT = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["small", "large"]),
        "messages": MESSAGES,
        "sampling": SAMPLING,
        "options": OPTIONS,
        "sample": st.integers(0, 3),
    }
)


def _is_same(one: object, other: object) -> bool:
    """Equality that tells True from 1, which JSON does too."""
    return one == other and repr(one) == repr(other)


@pytest.mark.slow
@given(CONTENT, CONTENT, st.sampled_from(["model", "messages", "sampling", "options", "sample"]))
def test_two_calls_have_one_key_exactly_if_nothing_in_them_differs(
    content: dict[str, Any], other: dict[str, Any], part: str
) -> None:
    changed = {**content, part: other[part]}

    same_key = cache_key(LAB, asked(**content)) == cache_key(LAB, asked(**changed))

    assert same_key == _is_same(_ordered(content[part]), _ordered(changed[part]))


def _ordered(value: Any) -> Any:
    """The value with mappings as sorted pairs: the order of their keys means nothing."""
    if isinstance(value, dict):
        return sorted((name, _ordered(inner)) for name, inner in value.items())
    if isinstance(value, list | tuple):
        return [_ordered(inner) for inner in value]
    if isinstance(value, Sampling | ReplyOptions):
        return [(name, _ordered(getattr(value, name))) for name in value.__dataclass_fields__]
    return value


CALL = ToolCall(id="1", name="f", arguments="")


def _shown(image: ImagePart) -> tuple[Message, ...]:
    return (Message(role="user", content=(TextPart(text="hi"), image)),)


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling": Sampling(temperature=0.1)},
        {"sampling": Sampling(top_p=0.1)},
        {"sampling": Sampling(top_k=1)},
        {"sampling": Sampling(max_tokens=1)},
        {"sampling": Sampling(stop=("a",))},
        {"sampling": Sampling(seed=0)},
        {"sampling": Sampling(reasoning_effort="low")},
        {"sampling": Sampling(extra={"min_p": 0.1})},
        {"options": ReplyOptions(tools=({"type": "function"},))},
        {"options": ReplyOptions(tool_choice="auto")},
        {"options": ReplyOptions(response_format={"type": "json_object"})},
        {"options": ReplyOptions(top_logprobs=0)},
        {"sample": 1},
        {"model": "large"},
        {"messages": (Message(role="system", content="hi"),)},
        {"messages": (Message(role="user", content="hi", name="me"),)},
        {"messages": _shown(ImagePart(data=b"1", media_type="image/png"))},
        {"messages": _shown(ImagePart(data=b"2", media_type="image/png"))},
        {"messages": _shown(ImagePart(data=b"2", media_type="image/png", detail="low"))},
        {"messages": _shown(ImagePart(url="https://x.test/a"))},
        {"messages": (Message(role="tool", content="hi", tool_call_id="1"),)},
        {"messages": (Message(role="assistant", content="hi", tool_calls=(CALL,)),)},
    ],
)  # fmt: skip
def test_every_single_parameter_changes_the_key(changes: dict[str, Any]) -> None:
    others = [{}, {"sample": 2}, {"sampling": Sampling(seed=1)}]

    keys = {cache_key(LAB, asked(**other)) for other in (*others, changes)}

    assert len(keys) == 1 + len(others)


@pytest.mark.parametrize(
    "changes",
    [{"name": "other"}, {"kind": "bedrock"}, {"base_url": "http://127.0.0.1:8/v1"}, {"region": "eu-west-1"},
     {"endpoint_url": "http://127.0.0.1:8"}, {"options": {"slots": 2}}],
)  # fmt: skip
def test_another_endpoint_has_other_keys(changes: dict[str, Any]) -> None:
    assert cache_key(replace(LAB, **changes), asked()) != cache_key(LAB, asked())


@pytest.mark.parametrize(
    "changes",
    [{"api_key": SecretStr("sk-1")}, {"profile": "mine"}, {"headers": {"Authorization": "x"}}, {"query": {"key": "x"}},
     {"proxy": "http://u:p@127.0.0.1:1"}],
)  # fmt: skip
def test_credentials_are_no_part_of_a_key(changes: dict[str, Any]) -> None:
    assert cache_key(replace(LAB, **changes), asked()) == cache_key(LAB, asked())


def test_how_a_reply_is_delivered_is_no_part_of_a_key() -> None:
    watched = asked(deltas=True, idle_timeout_s=1.0)
    whole = asked(deltas=False, context=CallContext(replayable=True, hedge=True, asked_at=1.0))

    assert cache_key(LAB, watched) == cache_key(LAB, whole)


def test_a_whole_number_is_the_same_temperature() -> None:
    one, other = (asked(sampling=Sampling(temperature=value, top_p=value)) for value in (1, 1.0))

    assert cache_key(LAB, one) == cache_key(LAB, other)


def test_half_a_surrogate_pair_has_a_key_and_a_value_without_a_json_form_has_none() -> None:
    assert cache_key(LAB, asked("\ud800")) != cache_key(LAB, asked("\ud801"))
    assert cache_key(LAB, asked(sampling=Sampling(extra={"at": object()}))) is None


@pytest.mark.slow
def test_another_process_finds_the_same_key() -> None:
    code = (
        "from tests.policies.cache.calls import LAB, asked\n"
        "from moa._messages import Sampling\n"
        "from moa._policies.cache.key import cache_key\n"
        "print(cache_key(LAB, asked('ü', sampling=Sampling(extra={'b': 1, 'a': [0.1]}))))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()

    assert found == cache_key(LAB, asked("ü", sampling=Sampling(extra={"a": [0.1], "b": 1})))


def test_a_digest_of_what_is_asked_does_not_depend_on_where() -> None:
    assert request_digest(asked()) == request_digest(asked(reference="other/small"))
    assert request_digest(asked()) != request_digest(asked("ho"))


def test_what_a_service_wants_back_with_its_message_is_part_of_a_key() -> None:
    call = ToolCall(id="1", name="f", arguments="{}")
    turns = (Message(role="user", content="hi"), Message(role="assistant", tool_calls=(call,)))
    with_state = (turns[0], replace(turns[1], state=ServiceState("lab/m", {"reasoning_content": "hm"})))

    keys = {cache_key(LAB, asked(messages=messages)) for messages in (turns, with_state)}

    assert len(keys) == 2

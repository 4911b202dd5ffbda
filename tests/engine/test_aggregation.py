"""The last step: synthesis, selection, fallbacks, the best proposal."""

from typing import Any

import pytest

from moa._config.settings import Settings
from moa._messages import Message, ReplyOptions, Sampling, ToolCall
from moa._mixture.prompts import SELECTION, SYNTHESIS
from moa._mixture.schema import Mixture
from moa._results import Answer
from moa._runtime.engine import Engine
from moa._usage import TokenUsage
from moa.errors import AggregationFailed, BadRequest, LayerFailed, ServiceFailed, UsageError
from moa.events import AnswerDelta
from moa.providers._base import Finish, ModelRequest, ReasoningDelta, TextDelta, ToolCallDelta
from moa.providers._endpoint import BreakerSettings, Endpoint
from moa.providers._scripted import Pause, Script, ScriptedProvider
from tests.support.engines import engine_of, mixture_of, scripted, system_text
from tests.support.virtual_clock import loop_time, virtual_time

USED = TokenUsage(input_tokens=1, output_tokens=1)
CUT = Finish(reason="length", usage=USED)


async def _run(provider: ScriptedProvider, mixture: Mixture | dict[str, Any], **arguments: Any) -> Answer:
    async with engine_of(provider) as engine:
        return await engine.arun(mixture, "hi", **arguments)


def _fails(model: str) -> list[ServiceFailed]:
    return [ServiceFailed(f"{model} broke", model=f"fake/{model}")]


@virtual_time
async def test_with_the_system_layout_proposals_follow_the_callers_system_message_and_the_role() -> None:
    provider = scripted({"a": "one", "agg": "done"})
    mixture = mixture_of(["a"], aggregator={"model": "agg", "role": "You are an editor."}, prompt_layout="system")
    await _run(provider, mixture, system="Answer in French.")

    first, second = provider.requests
    assert system_text(first) == "Answer in French."
    assert system_text(second).startswith("Answer in French.\n\nYou are an editor.\n\nYou have been provided with")
    assert second.messages[-1] == Message(role="user", content="hi")


@virtual_time
async def test_without_layers_the_model_answers_the_plain_conversation() -> None:
    provider = scripted({"agg": "done"})
    answer = await _run(provider, mixture_of())

    assert provider.requests[0].messages == (Message(role="user", content="hi"),)
    assert (answer.text, answer.status, answer.layers) == ("done", "complete", ())


@virtual_time
async def test_a_fallback_answers_for_an_aggregator_that_fails() -> None:
    provider = scripted({"a": "one", "agg": _fails("agg"), "b": _fails("b"), "c": "instead"})
    answer = await _run(provider, mixture_of(["a"], aggregator={"model": "agg", "fallback": ["fake/b", "fake/c"]}))

    assert (answer.text, answer.model, answer.status) == ("instead", "fake/c", "degraded")
    assert [call.model for call in answer.ledger.calls] == ["fake/a", "fake/agg", "fake/b", "fake/c"]
    assert [reason.code for reason in answer.degraded] == ["fallback"]


@virtual_time
async def test_a_blank_token_with_log_probabilities_is_an_answer_and_is_shown() -> None:
    logprobs = ({"token": " ", "logprob": -0.1},)
    provider = scripted({"agg": [TextDelta(" ", logprobs), CUT]})
    async with engine_of(provider) as engine, engine.astream(mixture_of(), "hi") as events:
        shown = [event.logprobs async for event in events if isinstance(event, AnswerDelta)]

    assert shown == [logprobs]


@virtual_time
async def test_samples_are_asked_for_together_and_those_of_a_fallback_one_by_one() -> None:
    batches: dict[str, list[int | None]] = {"a": [], "spare": []}

    def script(request: ModelRequest) -> Script:
        batch = request.context.batch
        batches[request.model].append(batch and batch.size)
        return _fails("a") if request.model == "a" else "instead"

    provider = scripted({"a": script, "spare": script, "agg": "done"})
    await _run(provider, mixture_of([{"model": "a", "samples": 2, "fallback": ["fake/spare"]}]))

    assert batches == {"a": [2] * len(batches["a"]), "spare": [None, None]}
    assert len(batches["a"]) >= 2

    # Who doesn't want to wait for stragglers has them asked one by one.
    batches["a"].clear()
    impatient = {"min_proposals": 1, "grace_s": 1}
    await _run(provider, mixture_of([{"model": "a", "samples": 2, "fallback": ["fake/spare"]}], wait=impatient))
    assert set(batches["a"]) == {None}


@virtual_time
async def test_a_fallback_answers_for_a_proposer_that_fails() -> None:
    provider = scripted({"a": _fails("a"), "spare": "instead", "agg": "done"})
    answer = await _run(provider, mixture_of([{"model": "a", "fallback": ["fake/spare"]}]))

    assert answer.proposals[0].model == "fake/spare"
    assert len(answer.proposals[0].attempts) == 2
    assert [(reason.agent, reason.code) for reason in answer.degraded] == [("a", "fallback")]


@virtual_time
async def test_without_any_aggregator_left_the_run_fails_with_every_cause() -> None:
    provider = scripted({"a": "one", "agg": _fails("agg"), "b": _fails("b")})
    with pytest.raises(AggregationFailed) as caught:
        await _run(provider, mixture_of(["a"], aggregator={"model": "agg", "fallback": ["fake/b"]}))

    assert [failure.model for failure in caught.value.failures] == ["fake/agg", "fake/b"]
    assert caught.value.ledger.usage.total_tokens > 0


@virtual_time
async def test_the_longest_complete_proposal_answers_if_the_mixture_says_so() -> None:
    scripts = {"a": "short", "b": "rather longer", "c": ["the longest, but it was cut off", CUT], "agg": _fails("agg")}
    answer = await _run(scripted(scripts), mixture_of(["a", "b", "c"], on_aggregator_failure="best_proposal"))

    assert (answer.text, answer.agent, answer.status) == ("rather longer", "b", "degraded")
    assert [(reason.agent, reason.code) for reason in answer.degraded] == [("aggregator", "aggregation_failed")]
    assert "agg broke" in answer.degraded[0].message


@virtual_time
async def test_an_answer_that_was_cut_off_is_degraded() -> None:
    answer = await _run(scripted({"a": "one", "agg": ["as far as it goes", CUT]}), mixture_of(["a"]))

    assert (answer.status, answer.finish_reason) == ("degraded", "length")
    assert [reason.code for reason in answer.degraded] == ["cut_off"]


@virtual_time
async def test_a_reply_of_reasoning_alone_is_empty_and_says_what_to_do() -> None:
    scripts = {"a": [ReasoningDelta("hm, hm"), CUT], "b": "fine", "agg": "done"}
    answer = await _run(scripted(scripts), mixture_of(["a", "b"]))

    assert [(reason.agent, reason.code) for reason in answer.degraded] == [("a", "empty_reply")]
    assert "max_tokens" in answer.degraded[0].message
    assert answer.ledger.calls[0].attempts[0].status == "failed"
    assert answer.ledger.calls[0].attempts[0].usage == USED


@virtual_time
async def test_an_answer_of_tool_calls_alone_is_not_empty() -> None:
    wish = ToolCallDelta(index=0, id="call-1", name="weather", arguments='{"city": "SF"}')
    provider = scripted({"a": "one", "agg": [wish, Finish(reason="tool_calls", usage=USED)]})
    tools = ({"type": "function", "function": {"name": "weather", "parameters": {}}},)
    answer = await _run(provider, mixture_of(["a"]), options=ReplyOptions(tools=tools))

    assert answer.tool_calls == (ToolCall(id="call-1", name="weather", arguments='{"city": "SF"}'),)
    assert (answer.status, answer.finish_reason) == ("complete", "tool_calls")
    assert provider.requests[0].options.tools == ()
    assert provider.requests[1].options.tools == tools


@virtual_time
async def test_proposers_read_earlier_tool_results_as_text_and_the_aggregator_as_they_are() -> None:
    provider = scripted({"a": "one", "agg": "done"})
    talk = [
        Message(role="user", content="Weather?"),
        Message(role="assistant", tool_calls=(ToolCall(id="1", name="weather", arguments="{}"),)),
        Message(role="tool", content="sunny", tool_call_id="1"),
    ]
    async with engine_of(provider) as engine:
        await engine.arun(mixture_of(["a"]), talk)

    proposer, aggregator = provider.requests
    assert [turn.role for turn in proposer.messages] == ["user", "assistant", "user"]
    assert proposer.messages[-1].text == "Result of the tool weather:\nsunny"
    assert aggregator.messages[0] == talk[0]
    assert aggregator.messages[2:] == tuple(talk[1:])


@virtual_time
async def test_a_callers_sampling_overrides_the_aggregators_alone() -> None:
    provider = scripted({"a": "one", "agg": "done"})
    mixture = mixture_of([{"model": "a", "temperature": 0.7}], aggregator={"model": "agg", "top_p": 0.5})
    await _run(provider, mixture, sampling=Sampling(temperature=0.1, max_tokens=9))

    assert provider.requests[0].sampling == Sampling(temperature=0.7)
    assert provider.requests[1].sampling == Sampling(temperature=0.1, top_p=0.5, max_tokens=9)


# Selection


def _selecting(*layer: str, **keys: Any) -> Mixture:
    return mixture_of(layer, aggregation="selection", **keys)


@pytest.mark.parametrize(
    "reply", ['{"best": 2}', 'Sure!\n```json\n{"best": 2}\n```', 'Of the 3, {"best": 2, "why": "it is 1st-rate"}']
)
@virtual_time
async def test_the_selected_proposal_is_returned_whole(reply: str) -> None:
    answer = await _run(scripted({"a": "one", "b": "the second", "agg": reply}), _selecting("a", "b"))

    assert (answer.text, answer.agent, answer.model, answer.selected) == ("the second", "b", "fake/b", 1)
    assert answer.status == "complete"


@virtual_time
async def test_the_aggregator_alone_is_asked_for_the_best_of_the_proposals() -> None:
    provider = scripted({"a": "one", "b": "two", "c": "three", "agg": '{"best": 1}'})

    await _run(provider, mixture_of(("a", "b"), ("c",), aggregation="selection"))

    shown = {request.model: "\n".join(message.text for message in request.messages) for request in provider.requests}
    assert [model for model, text in shown.items() if SELECTION.format(count=1) in text] == ["agg"]
    assert [model for model, text in shown.items() if SYNTHESIS in text] == ["c"]


@pytest.mark.parametrize(
    "reply",
    ["2", "The best is number 2.", '{"best": 3}', '{"best": true}', '{"best": 1} or {"best": 2}', '{"best": 0}'],
)
@virtual_time
async def test_a_reply_that_names_no_proposal_is_a_failure(reply: str) -> None:
    with pytest.raises(AggregationFailed) as caught:
        await _run(scripted({"a": "one", "b": "two", "agg": reply}), _selecting("a", "b"))

    assert [failure.code for failure in caught.value.failures] == ["unusable_reply"]


@virtual_time
async def test_a_service_that_refuses_the_response_format_is_asked_without_it() -> None:
    def pick(request: ModelRequest) -> Script:
        if request.options.response_format:
            return [BadRequest("response_format is not supported", model=request.reference)]
        return '{"best": 1}'

    answer = await _run(scripted({"a": "one", "b": "two", "agg": pick}), _selecting("a", "b"))

    assert answer.text == "one"
    first, second = answer.ledger.calls[-1].attempts
    assert (first.status, second.status, second.dropped) == ("failed", "ok", ("response_format",))


@virtual_time
async def test_selection_shows_nothing_of_the_verdict_and_then_the_proposal_at_once() -> None:
    scripts = {"a": "one", "agg": ['{"best"', Pause(1), ": 1}"]}
    async with engine_of(scripted(scripts)) as engine, engine.astream(_selecting("a"), "hi") as events:
        shown = [event.text async for event in events if isinstance(event, AnswerDelta)]

    assert shown == ["one"]


@virtual_time
async def test_selection_passes_the_response_format_to_the_proposers_and_refuses_tools() -> None:
    provider = scripted({"a": "{}", "agg": '{"best": 1}'})
    form = {"type": "json_object"}
    await _run(provider, _selecting("a"), options=ReplyOptions(response_format=form))
    assert provider.requests[0].options.response_format == form

    with pytest.raises(UsageError, match="tools"):
        await _run(provider, _selecting("a"), options=ReplyOptions(tools=({"type": "function"},)))


@virtual_time
async def test_an_unusable_selection_is_no_fault_of_the_models_service() -> None:
    endpoint = Endpoint(name="fake", kind="given", retry=None, breaker=BreakerSettings(failures=2))
    provider = scripted({"a": "one", "agg": "I like them all."})
    async with Engine(
        settings=Settings(endpoints={"fake": endpoint}), providers={"fake": provider}, clock=loop_time
    ) as engine:
        for _ in range(4):
            with pytest.raises(AggregationFailed) as caught:
                await engine.arun(_selecting("a"), "hi")

    assert {failure.code for failure in caught.value.failures} == {"unusable_reply"}


# Failures before and around the aggregator


@virtual_time
async def test_proposals_that_are_there_answer_when_a_later_layer_fails_if_the_mixture_says_so() -> None:
    provider = scripted({"a": "short", "b": "a longer one", "c": _fails("c"), "agg": "never"})
    answer = await _run(provider, mixture_of(["a", "b"], ["c"], on_aggregator_failure="best_proposal"))

    assert (answer.text, answer.agent, answer.status) == ("a longer one", "b", "degraded")
    assert answer.degraded[-1].code == "layer_failed"
    assert "c broke" in answer.degraded[-1].message
    assert len(answer.ledger.calls) == 3


@virtual_time
async def test_white_space_alone_is_no_answer_that_a_fallback_would_replay() -> None:
    scripts = {"a": "one", "agg": [" ", "\n", *_fails("agg")], "spare": [" ", "instead"]}
    mixture = mixture_of(["a"], aggregator={"model": "agg", "fallback": ["fake/spare"]})
    async with engine_of(scripted(scripts)) as engine, engine.astream(mixture, "hi") as events:
        shown = [event.text async for event in events if isinstance(event, AnswerDelta)]

    assert "".join(shown).strip() == "instead"


@virtual_time
async def test_a_proposal_of_tool_calls_alone_is_empty() -> None:
    wish = ToolCallDelta(index=0, id="1", name="f", arguments="{}")
    scripts = {"a": [wish, Finish(reason="tool_calls", usage=USED)], "b": "two", "agg": "done"}
    answer = await _run(scripted(scripts), mixture_of(["a", "b"]))

    assert [(reason.agent, reason.code) for reason in answer.degraded] == [("a", "empty_reply")]


@virtual_time
async def test_every_cause_of_a_chain_of_models_is_told() -> None:
    provider = scripted({"a": _fails("a"), "spare": _fails("spare"), "b": "two", "agg": "done"})
    mixture = mixture_of([{"model": "a", "fallback": ["fake/spare"]}, "b"])
    answer = await _run(provider, mixture)
    assert "a broke" in answer.degraded[0].message
    assert "spare broke" in answer.degraded[0].message

    with pytest.raises(LayerFailed) as caught:
        await _run(provider, mixture_of([{"model": "a", "fallback": ["fake/spare"]}]))
    assert [failure.model for failure in caught.value.failures] == ["fake/a", "fake/spare"]


@virtual_time
async def test_a_fallbacks_answer_says_what_went_wrong_before() -> None:
    provider = scripted({"a": _fails("a"), "spare": "instead", "agg": "done"})
    answer = await _run(provider, mixture_of([{"model": "a", "fallback": ["fake/spare"]}]))

    assert "a broke" in answer.degraded[0].message

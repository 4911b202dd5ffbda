import time
from collections.abc import Iterable

import pytest

from moa.evaluation._analysis.output_issues import IssueCounter, OutputIssues
from moa.evaluation._analysis.text_heuristics import holds_judge_marks, leaks, looks_cut_off, refuses
from moa.evaluation._data.outputs import Output, read_outputs
from tests.evaluation.conftest import SHARED


@pytest.mark.parametrize(
    "text",
    [
        "Based on the responses provided, here is my recommendation.",
        "The responses from the various models agree.",
        "Here is a synthesized response on why turkeys are eaten.",
        "I have synthesized the key points.",
        "Compared to the previous responses, this is better.",
        "The consensus among the model responses is that it is large.",
    ],
)
def test_an_answer_that_talks_of_the_proposals_leaks(text: str) -> None:
    assert leaks(text)


@pytest.mark.parametrize(
    "text",
    [
        "Calcium can trigger various cellular responses.",
        "I hope these suggestions help. Let me know if you need any other suggestions!",
        "Organize and synthesize the response: I take the information that I found.",
        "The emergency services' responses were quick.",
    ],
)
def test_an_answer_about_something_else_does_not_leak(text: str) -> None:
    assert not leaks(text)


def test_words_that_the_prompt_uses_itself_are_no_leak() -> None:
    assert not leaks("The first of the responses provided is better.", "Which of the responses provided is better?")


def test_refusals_begin_by_declining() -> None:
    assert refuses("I apologize, but I do not feel comfortable providing that.")
    assert refuses("As an AI language model, I can't do that.")
    assert not refuses("You can't go wrong with pasta. I cannot recommend it enough.")


def test_a_long_answer_that_ends_in_mid_sentence_looks_cut_off() -> None:
    body = "This sentence is whole. " * 50
    assert looks_cut_off(body + "This one is n")
    assert not looks_cut_off(body + "This one too.")
    assert not looks_cut_off(body + "#Hashtag")
    assert not looks_cut_off("Paris")


def test_marks_of_a_judges_prompt_are_found() -> None:
    assert holds_judge_marks("x<|im_end|>y")
    assert holds_judge_marks("{output_1}")
    assert not holds_judge_marks("{output}")


def counted(outputs: Iterable[Output]) -> OutputIssues:
    counter = IssueCounter()
    for output in outputs:
        counter.add(output, output.instruction)
    return counter.counts()


def test_hygiene_counts_by_finish_reason_where_it_is_known() -> None:
    outputs = [
        Output(instruction="a", output="", generator="s", finish_reason="stop"),
        Output(instruction="b", output="I cannot help with that.", generator="s", finish_reason="length"),
        Output(instruction="c", output="Fine.", generator="s"),
    ]

    found = counted(outputs)

    assert (found.n, found.empty, found.refusals, found.cut_off) == (3, 1, 1, 1)
    assert counted(outputs[2:]).cut_off is None


@pytest.mark.slow
def test_the_measured_rates_are_those_of_the_real_outputs() -> None:
    if not SHARED.is_dir():
        pytest.skip("AlpacaEval's reference data (CC BY-NC) is not beside the repository: ../shared/alpaca_eval")
    mixture, single, baseline = (
        counted(read_outputs(SHARED / f"{name}_outputs.json.gz"))
        for name in ("aws_moa", "sonnet35", "gpt4_1106_preview")
    )

    assert (mixture.leaks, single.leaks, baseline.leaks) == (160, 0, 0)
    assert (mixture.looks_cut_off, single.looks_cut_off, baseline.looks_cut_off) == (122, 9, 0)
    assert (mixture.refusals, single.refusals) == (28, 15)


def test_an_answer_of_white_space_alone_is_looked_at_at_once() -> None:
    started = time.process_time()

    assert not refuses("\n" * 50_000)
    assert refuses("\n" * 50_000 + "I'm sorry, but I can't help with that.")

    assert time.process_time() - started < 1.0

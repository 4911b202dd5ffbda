"""Prompts as public datasets and other tools write them: each row is of the shape that its name says."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from moa.errors import EvaluationDataError
from moa.evaluation._data.datasets import load_instructions
from moa.evaluation._data.outputs import read_outputs

USER = {"role": "user", "content": "Two and two?"}
FOUR = {"role": "assistant", "content": "4"}

READ: Mapping[str, tuple[dict[str, Any], str, str | None]] = {
    "GSM8K": ({"question": "Two and two?", "answer": "So\n#### 4"}, "Two and two?", "So\n#### 4"),
    "MATH": ({"problem": "Two and two?", "solution": "It is 4.", "answer": "4"}, "Two and two?", "4"),
    "Alpaca": ({"instruction": "Sum up.", "input": "A text.", "output": "T."}, "Sum up.\n\nA text.", "T."),
    "Alpaca without input": ({"instruction": "Hi?", "input": "", "output": "Ho."}, "Hi?", "Ho."),
    "Dolly": ({"instruction": "When?", "context": "In 2000.", "response": "2000"}, "When?\n\nIn 2000.", "2000"),
    "Orca": (
        {"system_prompt": "Be kind.", "question": "Hi?", "response": "Ho."},
        "system: Be kind.\n\nuser: Hi?",
        "Ho.",
    ),
    "fine-tuning": ({"messages": [USER, {**FOUR, "weight": 1}]}, "Two and two?", "4"),
    "ShareGPT": (
        {"conversations": [{"from": "human", "value": "Two and two?"}, {"from": "gpt", "value": "4"}]},
        "Two and two?",
        "4",
    ),
    "WildChat": (
        {"conversation": [{**USER, "language": "English", "toxic": False, "country": "US"}, FOUR]},
        "Two and two?",
        "4",
    ),
    "WildBench": ({"conversation_input": [{**USER, "redacted": False}], "checklist": ["?"]}, "Two and two?", None),
    "Arena-Hard": ({"question_id": "1", "turns": [{"content": "Two and two?"}]}, "Two and two?", None),
    "OpenAI's evals": (
        {"input": [{"role": "system", "content": "Briefly."}, USER], "ideal": ["4", "four"]},
        "system: Briefly.\n\nuser: Two and two?",
        "4",
    ),
    "OpenAI's batch": ({"custom_id": "1", "body": {"model": "m", "messages": [USER]}}, "Two and two?", None),
    "Anthropic's batch": (
        {"custom_id": "1", "params": {"system": "Briefly.", "messages": [USER]}},
        "system: Briefly.\n\nuser: Two and two?",
        None,
    ),
    "Inspect": ({"input": "Two and two?", "target": "4"}, "Two and two?", "4"),
    "Braintrust": ({"input": {"question": "Two and two?"}, "expected": {"answer": "4"}}, "Two and two?", "4"),
    "LangSmith": ({"inputs": {"ask": "Two and two?"}, "outputs": {"said": "4"}}, "Two and two?", "4"),
    "LangSmith's chats": ({"inputs": {"messages": [USER]}, "outputs": {"message": FOUR}}, "Two and two?", "4"),
    "Langfuse": ({"input": [USER], "expectedOutput": FOUR}, "Two and two?", "4"),
    "Phoenix": ({"input": {"query": "Two and two?"}, "output": {"answer": "4"}}, "Two and two?", "4"),
    "DeepEval": ({"input": "Two and two?", "expected_output": "4", "context": None}, "Two and two?", "4"),
    "Azure": ({"query": "Two and two?", "response": "5", "ground_truth": "4"}, "Two and two?", "4"),
    "Ragas": ({"user_input": "Two and two?", "reference": "4"}, "Two and two?", "4"),
    "Bedrock": ({"prompt": "Two and two?", "referenceResponse": "4"}, "Two and two?", "4"),
    "AlpacaEval's outputs": ({"instruction": "Hi?", "output": "Ho.", "generator": "m"}, "Hi?", None),
}


@pytest.mark.parametrize("name", READ)
def test_a_row_of_a_known_shape_is_a_prompt_with_its_right_answer(name: str) -> None:
    row, prompt, reference = READ[name]

    (one,) = load_instructions([row])

    assert (one.text, one.reference) == (prompt, reference)


UNCLEAR: Mapping[str, tuple[dict[str, Any], str]] = {
    "SQuAD": ({"question": "Who?", "context": "A text."}, "has `context` beside `question`: write all"),
    "MMLU": ({"question": "Which?", "choices": ["a", "b"], "answer": 1}, "has `choices` beside `question`"),
    "promptfoo": ({"language": "fr", "input": "Hi", "__expected": "equals: Salut"}, "has `__expected` beside `input`"),
    "MT-Bench as HuggingFaceH4/mt_bench_prompts": (
        {"prompt_id": 81, "category": "writing", "prompt": ["Write.", "Shorten."], "reference": []},
        "has several turns in `prompt`, of which each is asked after an answer",
    ),
    "MT-Bench": ({"turns": ["Write.", "Shorten."]}, "has several `turns`, of which each is asked after an answer"),
    "a function's arguments": (
        {"inputs": {"topic": "sea", "style": "dry"}},
        r"`inputs` in a column that is known; its columns are `topic`, `style`: name the one",
    ),
    "other names": ({"Ask": "Hi?", "id": 1}, "its columns are `Ask`, `id`: name the one with the prompt `prompt`"),
    "an empty cell": ({"prompt": "", "id": 1}, "has no prompt in its column `prompt`, which is empty"),
    "a misspelt turn": ({"messages": [{"role": "user", "contnet": "Hi"}]}, "unknown key 'contnet': did you mean"),
    "a turn with images": ({"messages": [{**USER, "images": ["a.png"]}]}, "unknown key 'images'"),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_a_row_that_would_lose_something_says_what_to_do(name: str) -> None:
    row, message = UNCLEAR[name]

    with pytest.raises(EvaluationDataError, match=message):
        load_instructions([row])


def test_measures_see_a_right_answer_of_any_name_and_a_reference_as_it_was_written() -> None:
    alias, several, own = load_instructions(
        [
            {"question": "a", "answer": 4},
            {"input": "b", "target": ["4", "four"]},
            {"prompt": "c", "reference": {"city": "Paris", "n": 1}, "output": "not this"},
        ]
    )

    assert alias.row["reference"] == "4"
    assert several.row["reference"] == ["4", "four"]
    assert own.row["reference"] == {"city": "Paris", "n": 1}


def test_lines_and_lists_are_told_apart_whatever_the_file_is_called(tmp_path: Path) -> None:
    rows = [{"prompt": "a"}, {"prompt": "b"}]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    # `Dataset.to_json` of Hugging Face's library and BigQuery write lines into files called .json.
    for name, text in {
        "lines.json": lines,
        "list.jsonl": json.dumps(rows, indent=1),
        "line.jsonl": json.dumps(rows),
    }.items():
        (tmp_path / name).write_text(text)

        assert [one.prompt for one in load_instructions(tmp_path / name)] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"data": [{"prompt": "a"}], "version": 1}', "holds an object with data, version where a list of rows"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n", "only Git LFS's pointer"),
        ('{"prompt": "a"}\n{"prompt": \n', "row 2: is not JSON"),
    ],
)
def test_a_file_that_is_no_list_says_what_it_is(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(text)

    with pytest.raises(EvaluationDataError, match=message):
        load_instructions(tmp_path / "p.json")
    with pytest.raises(EvaluationDataError, match=message):
        read_outputs(tmp_path / "p.json")


@pytest.mark.parametrize(
    "data",
    [
        "\ufeffprompt;category\r\n\"Hi, you; there\";a\r\n".encode(),
        b"sep=;\r\nprompt;category\r\n\"Hi, you; there\";a\r\n",
        "prompt\tcategory\r\nHi, you; there\ta\r\n".encode("utf-16"),
    ],
)  # fmt: skip
def test_a_table_may_be_separated_and_encoded_as_spreadsheets_do(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(data)

    (one,) = load_instructions(tmp_path / "p.csv")

    assert (one.prompt, one.category) == ("Hi, you; there", "a")


def test_answers_of_a_batch_and_logs_of_other_tools_are_outputs(tmp_path: Path) -> None:
    batch = {
        **{"prompt": "Two and two?", "answer": "4", "answer_status": "complete", "answer_error": None},
        **{"answer_input_tokens": 9, "answer_output_tokens": 1, "answer_seconds": 0.5},
    }
    failed = {"prompt": "And three?", "answer": None, "answer_status": "failed", "answer_error": "timeout: 60 s"}
    others = [{"messages": [USER, FOUR]}, {"inputs": {"ask": "Two and two?"}, "outputs": {"said": "4"}}]
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (batch, failed, *others)))

    one, none, *rest = read_outputs(path)

    assert (one.instruction, one.output, one.seconds, one.error) == ("Two and two?", "4", 0.5, None)
    assert one.usage is not None
    assert (one.usage.input_tokens, one.usage.output_tokens) == (9, 1)
    assert (none.instruction, none.output, none.error) == ("And three?", "", "timeout: 60 s")
    assert [(row.instruction, row.output) for row in rest] == [("Two and two?", "4")] * 2


def test_an_output_of_alpacas_shape_belongs_to_the_whole_prompt(tmp_path: Path) -> None:
    row = {"instruction": "Sum up.", "input": "A text.", "output": "T."}
    (tmp_path / "p.json").write_text(json.dumps([row]))

    (output,), (prompt,) = read_outputs(tmp_path / "p.json"), load_instructions(tmp_path / "p.json")

    assert output.instruction == prompt.text


def test_outputs_in_a_table_may_have_tokens_and_seconds(tmp_path: Path) -> None:
    (tmp_path / "o.csv").write_text(
        "instruction,output,input_token_usage,output_token_usage,total_time\na,b,9,1,0.5\nc,d,,,\n"
    )

    one, two = read_outputs(tmp_path / "o.csv")

    assert (one.usage is not None, one.seconds, two.usage, two.seconds) == (True, 0.5, None, None)

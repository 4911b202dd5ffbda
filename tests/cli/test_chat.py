import json
import signal
from pathlib import Path

import pytest

from tests.cli.moa_command import moa, start_moa
from tests.support.model_server import Hang, ModelServer, Text


@pytest.mark.usefixtures("folder")
def test_chat_answers_line_by_line_and_sums_up_in_the_end() -> None:
    ended = moa("chat", "-m", "pair.yaml", stdin="Hello\n\nAnd now?\n")

    assert (ended.code, ended.out) == (0, "The answer.\nThe answer.\n")
    assert ended.err.rstrip().splitlines()[-1].startswith("6 calls")


@pytest.mark.slow
async def test_chat_sends_what_was_said_before_and_ctrl_c_stops_only_the_answer(folder: Path) -> None:
    async with ModelServer() as server:
        server.behave("m", Text("one"), Hang(after=("half",)), Text("three"), Text("four"))
        (folder / "lab.yaml").write_text(f'endpoints: {{lab: {{kind: openai, base_url: "{server.base_url}"}}}}')
        process = await start_moa("chat", "--config", "lab.yaml", "--model", "lab/m", cwd=folder)
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"/system Be brief.\nfirst\nsecond\n")
        assert await process.stdout.readline() == b"one\n"
        assert await process.stdout.readexactly(4) == b"half"
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate(b"third\n/clear\nfourth\n")

    assert (process.returncode, out) == (0, b"\nthree\nfour\n"), err.decode()
    assert "cancelled: 1 call" in err.decode()
    spoken = [[message["content"] for message in request.body["messages"]] for request in server.requests]
    assert spoken == [
        ["Be brief.", "first"],
        ["Be brief.", "first", "one", "second"],
        ["Be brief.", "first", "one", "third"],
        ["Be brief.", "fourth"],
    ]


@pytest.mark.usefixtures("folder")
def test_chat_goes_on_after_a_failure_with_another_mixture_or_model() -> None:
    turns = "Hello\n/mixture pair.yaml\nHello\n/model demo/one\nHello\n"

    ended = moa("chat", "-m", "lost.yaml", stdin=turns)

    assert (ended.code, ended.out) == (1, "The answer.\nFirst proposal.\n"), "the pipe is told that one is missing"
    assert "error: layer 1: 0 of 1 needed proposals arrived" in ended.err
    assert "demo/one alone" in ended.err


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("model", "turns", "code"), [("demo/absent", "Hello\n", 1), ("nosuch/x", "Hello\n", 2), ("demo/one", "/bogus\n", 2)]
)
def test_chat_from_a_pipe_ends_with_the_code_of_what_failed(model: str, turns: str, code: int) -> None:
    assert moa("chat", "--model", model, stdin=turns).code == code


@pytest.mark.usefixtures("folder")
def test_chat_shows_the_proposals_of_the_last_answer_and_the_cost_so_far() -> None:
    ended = moa("chat", "-m", "lame.yaml", stdin="/proposals\nHello\n/proposals\n/cost\n")

    assert "error: there is no answer yet" in ended.err
    assert "First proposal." in ended.out
    assert "the script knows only" in ended.out
    assert ended.err.count("3 calls") == 3


@pytest.mark.usefixtures("folder")
def test_chat_saves_the_conversation_once(folder: Path) -> None:
    ended = moa("chat", "-m", "pair.yaml", "--system", "Be brief.", stdin="Hello\n/save talk.json\n/save talk.json\n")

    saved = json.loads((folder / "talk.json").read_text(encoding="utf-8"))
    assert [message["content"] for message in saved["messages"]] == ["Be brief.", "Hello", "The answer."]
    assert saved["answers"][0]["layers"][0]["proposals"][0]["text"] == "First proposal."
    assert "talk.json exists already" in ended.err


@pytest.mark.usefixtures("folder")
def test_chat_lists_its_commands_and_names_what_is_none() -> None:
    ended = moa("chat", "-m", "pair.yaml", stdin="/bogus\n/help\n/model\n/save\n/system\n/quit\nunread\n")

    assert ended.out == ""
    assert "error: /bogus is not a command: /help lists them" in ended.err
    for name in ("/mixture", "/model", "/proposals", "/cost", "/system", "/save", "/clear", "/quit"):
        assert f"\n{name} " in ended.err
    assert "no system message" in ended.err

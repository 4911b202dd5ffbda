import asyncio
import json
import signal
from pathlib import Path

import pytest

from tests.cli.moa_command import moa, start_moa
from tests.support.model_server import Hang, ModelServer, Text


@pytest.mark.usefixtures("folder")
def test_ask_prints_only_the_answer_on_stdout_and_the_rest_on_stderr() -> None:
    ended = moa("ask", "-m", "pair.yaml", "What?")

    assert (ended.code, ended.out) == (0, "The answer.\n")
    assert "layer 1: one: done" in ended.err
    assert "3 calls" in ended.err


def test_ask_takes_the_default_mixture_of_the_settings_file_and_says_so(folder: Path) -> None:
    settings = folder / "moa.yaml"
    settings.write_text("defaults: {mixture: pair.yaml}\n" + settings.read_text())

    ended = moa("ask", "What?")
    alone = moa("ask", "--model", "demo/one", "What?")

    assert (ended.code, ended.out) == (0, "The answer.\n")
    assert ended.err.startswith("mixture: ")
    assert "pair.yaml (from " in ended.err
    assert (alone.out, "pair.yaml" in alone.err) == ("First proposal.\n", False)


@pytest.mark.usefixtures("folder")
def test_ask_prints_the_same_answer_when_it_is_not_to_stream() -> None:
    assert moa("ask", "-m", "pair.yaml", "--no-stream", "What?").out == "The answer.\n"


@pytest.mark.usefixtures("folder")
def test_ask_prints_one_json_object_with_every_proposal_and_call() -> None:
    ended = moa("ask", "-m", "pair.yaml", "--seed", "7", "--json", "What?")

    document = json.loads(ended.out)
    assert ended.code == 0
    assert (document["status"], document["text"], document["seed"]) == ("complete", "The answer.", 7)
    assert [p["text"] for p in document["layers"][0]["proposals"]] == ["First proposal.", "Second proposal."]
    assert len(document["calls"]) == 3


@pytest.mark.usefixtures("folder")
def test_ask_says_why_an_answer_is_degraded_and_fails_only_when_strict() -> None:
    relaxed, strict = (moa("ask", "-m", "lame.yaml", *options, "What?") for options in ((), ("--strict",)))

    assert (relaxed.code, strict.code) == (0, 3)
    assert relaxed.out == strict.out == "The answer.\n"
    assert "degraded: absent: demo/absent: the script knows only" in relaxed.err


@pytest.mark.usefixtures("folder")
def test_ask_fails_with_every_cause_and_no_traceback_when_too_few_proposals_come() -> None:
    ended = moa("ask", "-m", "lost.yaml", "What?")

    assert (ended.code, ended.out) == (1, "")
    assert "error: layer 1: 0 of 1 needed proposals arrived\n  demo/absent: the script knows only" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.usefixtures("folder")
def test_ask_prints_one_json_object_with_error_and_calls_when_it_fails() -> None:
    ended = moa("ask", "-m", "lost.yaml", "--json", "What?")

    document = json.loads(ended.out)
    assert (ended.code, document["error"]["code"]) == (1, "layer_failed")
    assert {call["model"] for call in document["calls"]} == {"demo/absent"}
    assert document["cost_usd"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "nowhere", "What?"], "no preset and no file is called 'nowhere'"),
        (["-m", "pair.yaml", "--model", "demo/one", "What?"], "--mixture or --model, not both"),
        (["-m", "pair.yaml", "--set", "layers.0.proposers.0.temprature=1", "What?"], "temperature"),
        (["-m", "pair.yaml", ""], "the prompt is empty"),
        (["--model", "labb/x", "What?"], "no endpoint 'labb'"),
        (["-m", "pair.yaml", "--image", "moa.yaml", "What?"], "moa.yaml is not a PNG, JPEG, GIF or WebP image"),
        (["-m", "pair.yaml", "--config", "none.yaml", "What?"], "none.yaml"),
        (["--no-such-option", "What?"], "No such option: --no-such-option"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_ask_exits_with_2_and_one_message_when_the_command_or_a_file_is_wrong(
    arguments: list[str], message: str
) -> None:
    ended = moa("ask", *arguments)

    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.usefixtures("folder")
def test_ask_takes_an_override_into_the_run() -> None:
    ended = moa("ask", "-m", "pair.yaml", "--set", "aggregator.model=demo/one", "What?")

    assert ended.out == "First proposal.\n"


@pytest.mark.usefixtures("folder")
def test_ask_leaves_the_answer_as_it_is_in_a_pipe() -> None:
    assert moa("ask", "--model", "demo/rude", "What?").out == "\x1b[2Jwiped [red]text\n"


@pytest.mark.slow
async def test_ask_sends_prompt_stdin_system_and_image_to_the_model(folder: Path) -> None:
    (folder / "dot.png").write_bytes(b"\x89PNG\r\n\x1a\nrest")
    async with ModelServer() as server:
        server.behave("m", Text("seen"))
        (folder / "lab.yaml").write_text(f'endpoints: {{lab: {{kind: openai, base_url: "{server.base_url}"}}}}')
        options = ("--config", "lab.yaml", "--model", "lab/m", "--system", "Be brief.", "--image", "dot.png")
        process = await start_moa("ask", *options, "Review", "this:", "-", cwd=folder)
        out, err = await process.communicate(b"a change\n")

    assert (process.returncode, out) == (0, b"seen\n"), err.decode()
    system, user = server.requests[0].body["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    assert user["content"][0] == {"type": "text", "text": "Review this:\n\na change"}
    assert user["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")


@pytest.mark.slow
async def test_ask_cancels_every_call_and_says_what_was_spent_on_ctrl_c(folder: Path) -> None:
    async with ModelServer() as server:
        server.behave("*", Hang())
        server.behave("quick", Text("done", usage=(10, 5)))
        (folder / "lab.yaml").write_text(f'endpoints: {{lab: {{kind: openai, base_url: "{server.base_url}"}}}}')
        (folder / "slow.yaml").write_text(
            "layers: [{proposers: [{model: lab/a}, {model: lab/b}, {model: lab/quick}]}]\naggregator: {model: lab/c}"
        )
        process = await start_moa("ask", "--config", "lab.yaml", "-m", "slow.yaml", "--json", "What?", cwd=folder)
        assert process.stderr
        assert b"quick: done" in await process.stderr.readline()
        await server.until(lambda: server.running == 2)

        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
        await server.until(lambda: server.running == 0)

    assert process.returncode == 130
    assert server.cancelled == 2
    document = json.loads(out)
    assert (document["error"]["code"], len(document["calls"])) == ("cancelled", 3)
    assert document["usage"]["total_tokens"] == 15
    assert "cancelled: 3 calls" in err.decode()
    assert "Traceback" not in err.decode()


@pytest.mark.slow
async def test_ask_ends_quietly_when_nobody_reads_its_answer(folder: Path) -> None:
    gate = asyncio.Event()
    async with ModelServer() as server:
        server.behave("m", Text(("word " * 100,) * 200, gate=gate))
        (folder / "lab.yaml").write_text(f'endpoints: {{lab: {{kind: openai, base_url: "{server.base_url}"}}}}')
        process = await start_moa("ask", "--config", "lab.yaml", "--model", "lab/m", "What?", cwd=folder)
        await server.until(lambda: server.running == 1)
        transport = process._transport.get_pipe_transport(1)  # type: ignore[attr-defined]
        transport.close()
        gate.set()
        assert process.stderr
        err = await process.stderr.read()
        await process.wait()

    assert process.returncode == 1
    assert err.decode() == ""

import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.cli.moa_command import moa

HEAVY = ("aiohttp", "pydantic", "rich", "jinja2", "yaml", "asyncio", "genai_prices", "importlib.metadata")


def test_version_is_the_packages() -> None:
    assert moa("--version").out == f"moa {version('mixture-of-agents')}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("What is the answer?", "-m", "pair.yaml"),
        ("-m", "pair.yaml", "What is the answer?"),
        ("ask", "-m", "pair.yaml", "What is the answer?"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_question_needs_no_commands_name(arguments: tuple[str, ...]) -> None:
    ended = moa(*arguments)

    assert (ended.code, ended.out) == (0, moa("ask", "-m", "pair.yaml", "What is the answer?").out)


@pytest.mark.parametrize("group", [(), ("eval",), ("cache",), ("mixtures",), ("trace",)])
def test_lists_of_commands_show_whole_sentences(group: tuple[str, ...]) -> None:
    assert "..." not in moa(*group, "--help").out.partition("Commands:")[2]


def test_a_single_unknown_word_is_answered_with_the_nearest_command() -> None:
    ended = moa("asks")

    assert ended.code == 2
    assert "Did you mean 'ask'?" in ended.err


def test_the_package_can_be_run_as_a_module() -> None:
    ended = subprocess.run([sys.executable, "-m", "moa", "--version"], capture_output=True, text=True, check=True)

    assert ended.stdout == moa("--version").out


@pytest.mark.usefixtures("folder")
def test_errors_of_a_single_model_never_speak_of_an_aggregator() -> None:
    for arguments in (("--model", "gpt-4o-mini"), ("--model", "demo/absent"), ("-m", "demo/absent")):
        ended = moa("ask", *arguments, "Why?")

        assert ended.code in (1, 2)
        assert ended.err.startswith("error: ")
        assert "aggregat" not in ended.err


def test_help_waits_for_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from moa._cli.main import main\n"
        "try:\n    main(['--help'])\n"
        f"except SystemExit:\n    sys.stderr.write(' '.join(set({HEAVY!r}) & set(sys.modules)))\n"
    )

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert "Ask a mixture of models" in ended.stdout
    assert ended.stderr == ""


def test_ctrl_c_while_the_command_line_is_still_loaded_ends_it_without_a_traceback() -> None:
    script = (
        "import sys\n"
        "class CtrlC:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'typer':\n            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, CtrlC())\n"
        "from moa._cli.main import main\n"
        "main(['--help'])\n"
    )

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def _in_a_shell(line: str) -> tuple[int, str, str]:
    """Run a line of shell in which `moa` is this command, in the C locale; return its exit code and streams."""
    command = "moa() { " + shlex.quote(sys.executable) + " -c 'from moa._cli.main import main; main()' \"$@\"; }; "
    ended = subprocess.run(
        ["bash", "-c", command + line], capture_output=True, text=True, env={"LC_ALL": "C"}, stdin=subprocess.DEVNULL
    )
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("arguments", ["mixtures list", "mixtures schema", "--help"])
def test_output_that_cannot_be_written_is_one_clear_error(arguments: str) -> None:
    code, _, said = _in_a_shell(f"moa {arguments} > /dev/full")

    assert (code, said) == (1, "error: standard output can't be written: No space left on device\n")


@pytest.mark.slow
def test_streams_that_are_closed_are_no_crash() -> None:
    code, _, said = _in_a_shell("moa ask <&-")
    assert (code, said) == (2, "error: the prompt is empty: write one\n")

    code, out, _ = _in_a_shell("moa mixtures nonsense 2>&-")
    assert (code, out) == (2, "")

    assert _in_a_shell("moa mixtures list >&-") == (0, "", "")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["ask", "chat"])
def test_bytes_that_are_no_text_are_refused_also_where_python_would_let_them_through(command: str) -> None:
    code, _, said = _in_a_shell(f"printf 'caf\\xe9' | moa {command}")

    assert (code, said) == (2, "error: standard input is not utf-8 text\n")


@pytest.mark.slow
def test_words_that_are_no_text_are_refused() -> None:
    code, _, said = _in_a_shell("moa ask \"$(printf 'caf\\xe9')\"")

    assert (code, said) == (2, "error: the prompt is not UTF-8 text\n")


def test_a_terminal_that_claims_to_have_no_columns_gets_eighty() -> None:
    code, out, _ = _in_a_shell("COLUMNS=0 moa mixtures show local")

    assert code == 0
    assert "layer 1" in out


def test_a_command_line_without_a_command_shows_the_help() -> None:
    ended = moa()

    assert ended.code == 2
    assert "Usage: moa" in ended.out + ended.err


@pytest.mark.slow
def test_streams_that_lack_a_character_get_an_escape_in_its_place(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("ascii")
    (folder / "moa.yaml").write_text(
        'endpoints: {demo: {kind: scripted, options: {replies: {m: "na\\u00efve \\U0001F469"}}}}', encoding="utf-8"
    )
    script = "from moa._cli.main import main; main(['ask', '--model', 'demo/m', 'Hi'])"

    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={"PYTHONIOENCODING": "ascii", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert ended.stdout == "na\\xefve \\U0001f469\n"
    assert "1 call | " in ended.stderr

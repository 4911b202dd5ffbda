r"""Drive real clients against a server whose models are scripted, and print which of them work.

Needs Linux, Node.js and a folder in which these packages are installed; nothing is downloaded, and nothing but loopback
can be reached while the clients run (a network namespace of its own, made by `unshare`):

    $ npm install --prefix FOLDER @anthropic-ai/claude-code @openai/codex opencode-ai ai zod @ai-sdk/openai \
          @ai-sdk/anthropic
    $ python scripts/try_clients.py FOLDER

Each client runs two turns of one conversation, a tool that it runs itself, and a picture. `--record DIR` writes what it
sends by its shape (fields and types kept, texts replaced), which the tests read.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from moa._config.settings import Settings
from moa._messages import Message, ServiceState
from moa._mixture.loading import load
from moa._runtime.engine import Engine
from moa._server.app import create_app
from moa._server.launcher import ServeSettings, uvicorn_config
from moa._server.options import ServerOptions
from moa.providers._base import Finish, ModelRequest, ToolCallDelta
from moa.providers._scripted import Script, ScriptedProvider

MODEL = "moa/trial"
SECRET = "heliotrope"
"""What stands in the file that clients read by their tool: no model can guess it."""

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

STATE = ServiceState("lab/writer", {"signature": "for the writer alone"})
ENDED = Finish(reason="stop", state=STATE)
"""Every reply has something that its service wants back: clients must stand it, and may carry it."""

TRIAL = load(
    {
        "name": "trial",
        "description": "Two scripted proposers and a scripted aggregator",
        "layers": [{"proposers": [{"model": "lab/one"}, {"model": "lab/two"}]}],
        "aggregator": {"model": "lab/writer"},
    }
)


def script(request: ModelRequest) -> Script:
    """The models: proposers say a word; the aggregator reads a file if it is asked to, and tells what it was shown."""
    if request.model != "writer":
        return f"a proposal by {request.model}"
    turn = _current_turn(request.messages)
    results = [message for message in turn if message.role == "tool"]
    asked = turn[0].text
    if results:
        return [f"The tool says: {results[-1].text[-2000:]}", ENDED]
    if "READ" in asked and (call := _tool_call(request.options.tools)):
        return ["I look. ", call, Finish(reason="tool_calls", state=STATE)]
    said = sum(message.role == "assistant" for message in request.messages)
    pictures = sum(len(message.images) for message in request.messages)
    return [f"This is answer {said + 1}, with {pictures} pictures.", ENDED]


def _current_turn(messages: Sequence[Message]) -> Sequence[Message]:
    """The last question of the user with all that follows."""
    starts = [at for at, message in enumerate(messages) if message.role == "user" and "TURN" in message.text]
    return messages[starts[-1] :] if starts else messages[-1:]


_READERS: dict[str, Callable[[str], dict[str, Any]]] = {
    "Bash": lambda path: {"command": f"cat {path}", "description": "Read the file"},
    "exec_command": lambda path: {"cmd": f"cat {path}"},
    "shell_command": lambda path: {"command": f"cat {path}"},
    "shell": lambda path: {"command": ["cat", path]},
    "bash": lambda path: {"command": f"cat {path}", "description": "Read the file"},
    "read_secret": lambda path: {"path": path},
}
"""Tools that read a file, with their arguments."""


def _tool_call(tools: Sequence[Any]) -> ToolCallDelta | None:
    names = {tool["function"]["name"] for tool in tools}
    for name, arguments in _READERS.items():
        if name in names:
            return ToolCallDelta(index=0, id="call_1", name=name, arguments=json.dumps(arguments("secret.txt")))
    return None


@dataclass(slots=True)
class Recorder:
    """Keeps every request and the status of its reply; an ASGI application around another."""

    app: ASGIApp
    seen: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        entry: dict[str, Any] = {"method": scope["method"], "path": scope["path"], "status": 0, "body": b""}
        entry["headers"] = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        entry["reply"] = b""
        self.seen.append(entry)

        async def received() -> Any:
            message = await receive()
            entry["body"] += message.get("body", b"")
            return message

        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                entry["status"] = message["status"]
            entry["reply"] += message.get("body", b"")
            await send(message)

        await self.app(scope, received, sent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One client.

    Attributes:
        name: What people call it.
        api: Which API it speaks.
        version: The command that prints its version.
        turns: The commands of the first turn, of the second turn in the same conversation, of the turn with a tool, and
            of the turn with a picture; None where it has no such thing.
        settings: Its environment.
        files: Its files, by their path in the home folder.
    """

    name: str
    api: str
    version: list[str]
    turns: dict[str, list[str]]
    settings: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


_SEES = {"input": ["text", "image"], "output": ["text"]}

EXPECTED = {
    "first turn": "This is answer 1",
    "second turn": "This is answer 2",
    "tool": SECRET,
    "picture": "with 1 pictures",
}


def clients(folder: Path, url: str, picture: Path) -> list[Client]:
    """Return the clients that are installed in a folder."""
    bin_ = folder / "node_modules" / ".bin"
    here = Path(__file__).parent / "clients"
    claude = [str(bin_ / "claude"), "-p", "--model", MODEL, "--dangerously-skip-permissions"]
    codex = [str(bin_ / "codex"), "exec", "--skip-git-repo-check", "--sandbox", "read-only"]
    opencode = [str(bin_ / "opencode"), "run", "--model", f"moa/{MODEL}"]
    found = [
        Client(
            name="Claude Code",
            api="Messages",
            version=[str(bin_ / "claude"), "--version"],
            turns={
                "first turn": [*claude, "TURN 1"],
                "second turn": [*claude, "--continue", "TURN 2"],
                "tool": [*claude, "TURN 3: READ secret.txt"],
                "picture": [
                    "sh",
                    "-c",
                    f"{_picture_message(picture)} | {' '.join(claude)} --input-format stream-json "
                    "--output-format stream-json --verbose",
                ],
            },
            settings={
                "ANTHROPIC_BASE_URL": url,
                "ANTHROPIC_AUTH_TOKEN": "none-needed",
                "ANTHROPIC_DEFAULT_HAIKU_MODEL": MODEL,
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                "IS_SANDBOX": "1",
            },
        ),
        Client(
            name="Codex",
            api="Responses",
            version=[str(bin_ / "codex"), "--version"],
            turns={
                "first turn": [*codex, "TURN 1"],
                "second turn": [*codex, "resume", "--last", "TURN 2"],
                "tool": [*codex, "TURN 3: READ secret.txt"],
                "picture": [*codex, "--image", str(picture), "--", "TURN 4"],
            },
            files={
                ".codex/config.toml": f'''model = "{MODEL}"
model_provider = "moa"

[model_providers.moa]
name = "moa"
base_url = "{url}/v1"
wire_api = "responses"
'''
            },
        ),
        Client(
            name="opencode",
            api="Chat Completions",
            version=[str(bin_ / "opencode"), "--version"],
            turns={
                "first turn": [*opencode, "TURN 1"],
                "second turn": [*opencode, "--continue", "TURN 2"],
                "tool": [*opencode, "TURN 3: READ secret.txt"],
                "picture": [*opencode, "TURN 4", "--file", str(picture)],
            },
            files={
                ".config/opencode/opencode.json": json.dumps(
                    {
                        "provider": {
                            "moa": {
                                "npm": "@ai-sdk/openai-compatible",
                                "name": "moa",
                                "options": {"baseURL": f"{url}/v1", "apiKey": "none-needed"},
                                "models": {MODEL: {"name": "trial", "attachment": True, "modalities": _SEES}},
                            }
                        },
                        "permission": {"bash": "allow"},
                        "autoupdate": False,
                    }
                )
            },
        ),
    ]
    for provider, api in (("openai", "Responses"), ("openai-chat", "Chat Completions"), ("anthropic", "Messages")):
        program = ["node", str(here / "vercel.mjs"), provider, url, MODEL, str(picture)]
        package = provider.partition("-")[0]
        found.append(
            Client(
                name=f"Vercel AI SDK, @ai-sdk/{package}",
                api=api,
                version=["node", "-p", f"require('{folder}/node_modules/@ai-sdk/{package}/package.json').version"],
                turns={name: [*program, name] for name in EXPECTED},
                settings={"CLIENTS": str(folder)},
            )
        )
    return found


def _picture_message(picture: Path) -> str:
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(picture.read_bytes()).decode()}
    content = [{"type": "text", "text": "TURN 4"}, {"type": "image", "source": source}]
    line = json.dumps({"type": "user", "message": {"role": "user", "content": content}})
    return f"printf '%s\\n' '{line}'"


def run(client: Client, home: Path, recorder: Recorder, show: bool) -> dict[str, str]:
    """Run all turns of a client; return how each went, and its version."""
    work = home / "work"
    work.mkdir(parents=True)
    (work / "secret.txt").write_text(f"The word is {SECRET}.\n")
    for path, text in client.files.items():
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_text(text)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "LANG": "C.UTF-8",
        **client.settings,
    }
    named: dict[str, Any] = {"cwd": work, "env": environment, "capture_output": True, "text": True, "timeout": 180}
    outcome = {"version": subprocess.run(client.version, check=True, **named).stdout.split()[-1].strip("()")}
    if client.name == "Claude Code":
        outcome["version"] = subprocess.run(client.version, check=True, **named).stdout.split()[0]
    for name, command in client.turns.items():
        before = len(recorder.seen)
        try:
            ended = subprocess.run(
                command, stdin=None if command[0] == "sh" else subprocess.DEVNULL, check=False, **named
            )
            said = ended.stdout + ended.stderr
        except subprocess.TimeoutExpired as error:
            said = f"timed out: {error.stdout!r} {error.stderr!r}"
        new = recorder.seen[before:]
        refused = [f"{entry['path']} {entry['status']}" for entry in new if entry["status"] >= 400]
        worked = EXPECTED[name] in said
        outcome[name] = "works" if worked and not refused else f"fails ({', '.join(refused) or 'no answer'})"
        if show or not worked or refused:
            print(f"--- {client.name}, {name}: {outcome[name]}\n{said[-3000:]}", file=sys.stderr)
            for entry in new:
                if entry["status"] >= 400:
                    print(f"    {entry['method']} {entry['path']}: {entry['reply'][:500]!r}", file=sys.stderr)
    return outcome


_WORDS = frozenset(
    "type role model effort summary verbosity mode ttl detail media_type tool_choice status phase format".split()  # noqa: SIM905
)
"""Fields whose texts are words of the API; all other texts are somebody's own."""

_SCHEMAS = ("parameters", "input_schema", "schema")


def shape(value: Any, key: str = "") -> Any:
    """Return a request with its fields and types alone: every text that isn't a word of the API is replaced."""
    if key in _SCHEMAS and isinstance(value, dict):
        return {"type": "object", "properties": {}}
    if isinstance(value, dict):
        return {name: shape(each, name) for name, each in value.items()}
    if isinstance(value, list):
        shapes = [shape(each, key) for each in value]
        return [each for at, each in enumerate(shapes) if key != "tools" or each not in shapes[:at]]
    if not isinstance(value, str) or key in _WORDS:
        return value
    return "data:image/png;base64,AA==" if value.startswith("data:image/") else "AA==" if key == "data" else "text"


async def serve(
    folder: Path, only: Sequence[str], record: Path | None, show: bool
) -> list[tuple[Client, dict[str, str]]]:
    """Serve, and run the clients one after another."""
    engine = Engine(settings=Settings(endpoints={}), providers={"lab": ScriptedProvider(script)})
    recorder = Recorder(create_app(engine, ServerOptions(mixtures=(TRIAL,))))
    config = uvicorn_config(recorder, ServeSettings(port=0), sets_up_logs=False)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    outcomes = []
    with tempfile.TemporaryDirectory() as homes:
        picture = Path(homes) / "pixel.png"
        picture.write_bytes(PIXEL)
        for client in clients(folder, url, picture):
            if only and not any(part.lower() in client.name.lower() for part in only):
                continue
            before = len(recorder.seen)
            home = Path(homes) / f"home-{len(outcomes)}"
            outcomes.append((client, await asyncio.to_thread(run, client, home, recorder, show)))
            if record is not None:
                write_shapes(record, client, recorder.seen[before:])
    await server.shutdown()
    return outcomes


def write_shapes(record: Path, client: Client, seen: Sequence[dict[str, Any]]) -> None:
    """Write a client's requests by their shape, each shape once."""
    shapes = []
    for entry in seen:
        if entry["method"] == "POST" and entry["body"]:
            found = {"path": entry["path"], "body": shape(json.loads(entry["body"]))}
            if found not in shapes:
                shapes.append(found)
    record.mkdir(parents=True, exist_ok=True)
    named = f"{client.name} {client.api}".lower().replace("ai sdk, @ai-sdk/", "").replace(" ", "-")
    lines = ",\n".join(json.dumps(each) for each in shapes)
    (record / f"{named}.json").write_text(f"[\n{lines}\n]\n")


def table(outcomes: Sequence[tuple[Client, dict[str, str]]]) -> str:
    """Return the outcomes as the table that the documentation shows."""
    names = list(EXPECTED)
    lines = [f"| client | version | API | {' | '.join(names)} |", f"|---|---|---|{'---|' * len(names)}"]
    for client, outcome in outcomes:
        cells = [client.name, outcome["version"], client.api, *(outcome.get(name, "") for name in names)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Run; return 1 if a client fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the npm packages are installed")
    parser.add_argument("--only", action="append", default=[], help="part of a client's name; may be given again")
    parser.add_argument("--record", type=Path, help="where to write what they send, by its shape")
    parser.add_argument("--show", action="store_true", help="show what the clients print")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not given.inside:
        isolated = shutil.which("unshare")
        if isolated is None:
            parser.error("unshare is needed: clients must reach nothing but loopback")
        again = " ".join(["ip link set lo up && exec", sys.executable, *sys.argv, "--inside"])
        return subprocess.run([isolated, "--map-root-user", "--net", "sh", "-c", again], check=False).returncode
    outcomes = asyncio.run(serve(given.folder.resolve(), given.only, given.record, given.show))
    print(table(outcomes))
    return 0 if all(text != "" and "fails" not in text for _, found in outcomes for text in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

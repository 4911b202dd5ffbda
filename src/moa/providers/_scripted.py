"""A provider that answers from a script: for tests, documentation and demonstrations."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from moa._usage import TokenUsage
from moa.errors import ConfigError, IdleTimedOut, ModelNotFound, ProviderError, ServiceFailed
from moa.providers._base import Finish, ModelRequest, ReplyEvent, TextDelta
from moa.providers._endpoint import Endpoint
from moa.providers._token_estimates import estimated_input_tokens, estimated_tokens


@dataclass(frozen=True, slots=True)
class Pause:
    """A step that takes some seconds; infinity hangs for good."""

    seconds: float


Step = str | Pause | ReplyEvent | ProviderError
"""A piece of text, a pause, any other event of a reply, or an error to raise."""

Script = str | Sequence[Step]
"""One whole text, or steps."""


class ScriptedProvider:
    """Plays scripts instead of calling models, and keeps every request.

    A script is a text, or a series of steps: pieces of text, pauses, reply events, and errors to raise. If it doesn't
    end by itself, a `Finish` follows whose usage is about a token for every four bytes.

    Args:
        script: One script for every request, or a function that gives the script for a request.
        takes_seed: What the provider says of itself.

    Attributes:
        requests: Every request, in order.
        left_early: How many replies ended early: left by the caller, or ended by an error of the script.
    """

    def __init__(self, script: Script | Callable[[ModelRequest], Script], *, takes_seed: bool = True) -> None:
        self.takes_seed = takes_seed
        self.requests: list[ModelRequest] = []
        self.left_early = 0
        self._script = script

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ReplyEvent]]:
        """Play the script for a request.

        Raises:
            ProviderError: Where the script has one, or a pause is longer than the idle limit.
        """
        self.requests.append(request)
        script = self._script(request) if callable(self._script) else self._script
        steps = (script,) if isinstance(script, str) else tuple(script)
        ended = asyncio.Event()
        events = _play(steps, request, ended)
        try:
            yield events
        finally:
            await events.aclose()
            self.left_early += not ended.is_set()

    async def aclose(self) -> None:
        """Nothing is held."""


async def _play(steps: tuple[Step, ...], request: ModelRequest, ended: asyncio.Event) -> AsyncGenerator[ReplyEvent]:
    begun, written = False, 0
    for step in steps:
        match step:
            case Pause():
                await _pause(step.seconds, request, begun=begun)
            case ProviderError():
                raise step
            case Finish():
                ended.set()
                yield step
                return
            case str():
                begun, written = True, written + estimated_tokens(step)
                yield TextDelta(step)
            case event:
                begun = True
                yield event
    ended.set()
    usage = TokenUsage(input_tokens=estimated_input_tokens(request), output_tokens=written)
    yield Finish(reason="stop", usage=usage, served_by=request.model)


async def _pause(seconds: float, request: ModelRequest, *, begun: bool) -> None:
    idle_s = request.idle_timeout_s
    if begun and idle_s is not None and seconds > idle_s:
        await asyncio.sleep(idle_s)
        raise IdleTimedOut(f"silent for {idle_s:g} s", model=request.reference)
    if seconds == float("inf"):
        await asyncio.Event().wait()
    await asyncio.sleep(seconds)


def open_scripted(endpoint: Endpoint) -> ScriptedProvider:
    """Return a provider that plays the scripts of a configured endpoint.

    `options["replies"]` maps a model id to a text, or to a list of steps: a text, `{pause: seconds}` or
    `{error: message}`.

    Raises:
        ConfigError: There are no replies, or a step is none of these.
    """
    replies = endpoint.options.get("replies")
    if not isinstance(replies, Mapping) or not replies:
        raise ConfigError("a scripted endpoint needs `replies`: model id to text", key=f"endpoints.{endpoint.name}")
    scripts = {model: _configured(reply, f"{endpoint.name}/{model}") for model, reply in replies.items()}

    def script(request: ModelRequest) -> Script:
        try:
            return scripts[request.model]
        except KeyError:
            known = ", ".join(scripts)
            raise ModelNotFound(f"the script knows only {known}", model=request.reference) from None

    return ScriptedProvider(script)


def _configured(reply: object, reference: str) -> tuple[Step, ...]:
    steps = reply if isinstance(reply, list) else [reply]
    return tuple(_step(step, reference) for step in steps)


def _step(step: object, reference: str) -> Step:
    match step:
        case str():
            return step
        case {"pause": int() | float() as seconds}:
            return Pause(float(seconds))
        case {"error": str(message)}:
            return ServiceFailed(message, model=reference)
    raise ConfigError(f"a step is {step!r}: use a text, {{pause: seconds}} or {{error: message}}", key=reference)

"""Engines and mixtures of scripted models, in a line each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from moa._config.settings import Settings
from moa._mixture.loading import load
from moa._mixture.schema import Mixture
from moa._runtime.engine import Engine
from moa.providers._base import ModelRequest
from moa.providers._scripted import Script, ScriptedProvider
from tests.support.virtual_clock import loop_time

Scripts = Mapping[str, Script | Callable[[ModelRequest], Script]]


def scripted(scripts: Scripts, *, takes_seed: bool = True) -> ScriptedProvider:
    """A provider with one script for each model id."""

    def script(request: ModelRequest) -> Script:
        chosen = scripts[request.model]
        return chosen(request) if callable(chosen) else chosen

    return ScriptedProvider(script, takes_seed=takes_seed)


def engine_of(provider: ScriptedProvider, **arguments: Any) -> Engine:
    """An engine whose endpoint `fake` is the provider, on the running loop's clock."""
    return Engine(settings=Settings(endpoints={}), providers={"fake": provider}, clock=loop_time, **arguments)


def mixture_of(
    *layers: Sequence[str | dict[str, Any]], aggregator: str | dict[str, Any] = "agg", **keys: Any
) -> Mixture:
    """A mixture of models of the endpoint `fake`: each layer lists model ids, or agents as mappings."""
    return load(
        {
            "name": "test",
            "layers": [{"proposers": [_agent(entry) for entry in layer]} for layer in layers],
            "aggregator": _agent(aggregator),
            **keys,
        }
    )


def _agent(entry: str | dict[str, Any]) -> dict[str, Any]:
    return {"model": f"fake/{entry}"} if isinstance(entry, str) else {**entry, "model": f"fake/{entry['model']}"}


def system_text(request: ModelRequest) -> str:
    """All system text that a request carries."""
    return "\n".join(message.text for message in request.messages if message.role == "system")


PROPOSALS = "Responses from models:"


def proposals_text(request: ModelRequest) -> str:
    """What a request says from the proposals on; empty if it shows none."""
    shown = [message.text for message in request.messages if PROPOSALS in message.text]
    return shown[-1].partition(PROPOSALS)[2] if shown else ""


def user_text(request: ModelRequest) -> str:
    """The last user message of a request that shows no proposals."""
    said = [message.text for message in request.messages if message.role == "user" and PROPOSALS not in message.text]
    return said[-1]

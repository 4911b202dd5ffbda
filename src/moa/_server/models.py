"""What is served: mixtures by name, their models alone, and what requests may change."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moa._config.settings import Settings
from moa._mixture.loading import load, single
from moa._mixture.schema import Agent, Mixture
from moa._server.http.errors import RequestError
from moa._validation.strict_yaml import require_size
from moa._validation.suggestions import did_you_mean
from moa.errors import MixtureError

PREFIX = "moa/"
"""What stands before a mixture's name where models are listed."""

MAX_MIXTURE_VALUES = 5_000
"""Most values of a mixture that a request brings or changes: as many as 250 agents with 20 keys each."""

DEFAULTS = Agent(model="any/model")
"""An agent of which nothing but the model is set: its time limits are allowed to every request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A mixture that can be asked.

    Attributes:
        id: What clients call it: `moa/NAME` or `endpoint/model-id`.
        mixture: What runs.
        label: Its name in metrics: requests may bring mixtures of their own, whose names are anything.
    """

    id: str
    mixture: Mixture
    label: str

    @property
    def is_mixture(self) -> bool:
        """Whether it is more than a single model."""
        return self.id.startswith(PREFIX)


class ServedModels:
    """All that is served.

    Requests may bring mixtures of their own, or change a served one, but only within what the operator has set: prices,
    templates, `extra`, `allow_unpriced`, time limits and (with keys) models must be those of served mixtures, and calls
    are bounded. Else a request could fake what it costs, read files, or undo a limit.

    Args:
        mixtures: What is served.
        settings: The endpoints.
        max_calls: Most calls of a mixture that a request brings or changes; a served one may make its own number.
        allows_unserved_models: Whether requests may name models that no served mixture has.
        compare_with: Further models that are served alone, as `endpoint/model-id`.
    """

    def __init__(
        self,
        mixtures: Sequence[Mixture],
        settings: Settings,
        *,
        max_calls: int,
        allows_unserved_models: bool,
        compare_with: Sequence[str] = (),
    ) -> None:
        self.mixtures = {mixture.name: mixture for mixture in mixtures}
        self._settings = settings
        self._max_calls = max((max_calls, *(mixture.most_calls for mixture in mixtures)))
        self._allows_unserved_models = allows_unserved_models
        agents = [agent for mixture in mixtures for agent in mixture.agents]
        self._prices = {(agent.model, agent.price) for agent in agents if agent.price}
        self._extras = [(agent.model, agent.extra) for agent in agents if agent.extra]
        self._prompts = {(mixture.prompt, mixture.template) for mixture in mixtures}
        self._max_timeout_s = max((DEFAULTS.timeout_s, *(agent.timeout_s for agent in agents)))
        self._max_idle_timeout_s = max((DEFAULTS.idle_timeout_s, *(agent.idle_timeout_s for agent in agents)))
        self.references = frozenset((*compare_with, *(name for mixture in mixtures for name in mixture.references)))
        unpriced = [mixture for mixture in mixtures if mixture.allow_unpriced]
        self._may_be_unpriced = frozenset(name for mixture in unpriced for name in mixture.references)
        self._served = {served.id: served for served in self._all()}

    def _all(self) -> Iterator[ServedModel]:
        for name, mixture in self.mixtures.items():
            yield ServedModel(id=PREFIX + name, mixture=mixture, label=name)
        prices = dict(sorted(self._prices, key=lambda known: known[0]))
        for reference in sorted(self.references):
            price = prices.get(reference)
            yield ServedModel(
                id=reference, mixture=single(reference, **({"price": price} if price else {})), label=reference
            )

    @property
    def all(self) -> tuple[ServedModel, ...]:
        """Mixtures first, then single models."""
        return tuple(self._served.values())

    def get(self, name: str) -> ServedModel:
        """Return what a client calls by this name; a mixture's may come without its prefix.

        Raises:
            RequestError: Nothing is called so.
        """
        served = self._served.get(name) or self._served.get(PREFIX + name)
        if served is None:
            hint = did_you_mean(name, tuple(self._served)) or "."
            message = f"there is no model {name!r:.120}{hint} GET /v1/models lists all"
            raise RequestError(404, "model_not_found", message, param="model")
        return served

    def with_overrides(self, served: ServedModel, changes: Mapping[str, Any]) -> Mixture:
        """Return a served mixture with some of its keys replaced.

        Raises:
            MixtureError: It can't be used, or a request may not set this.
        """
        require_size(changes, MixtureError, max_values=MAX_MIXTURE_VALUES)
        return self.from_request(_merged(served.mixture.as_dict(), changes))

    def from_request(self, fields: Mapping[str, Any]) -> Mixture:
        """Return a mixture that a request brings.

        Raises:
            MixtureError: It can't be used, or a request may not set this.
        """
        require_size(fields, MixtureError, max_values=MAX_MIXTURE_VALUES)
        prompt, template = fields.get("prompt", "default"), fields.get("template")
        if not (isinstance(prompt, str) and (template is None or isinstance(template, str))):
            raise MixtureError("expected text", key="prompt")
        if (prompt, template) not in self._prompts and not (prompt in ("default", "numbered") and template is None):
            raise MixtureError("a request may only use default or numbered, or what a served mixture has", key="prompt")
        mixture = load(fields)
        if mixture.most_calls > self._max_calls:
            raise MixtureError(
                f"it may make {mixture.most_calls:,} calls (samples, fallbacks and hedged calls counted), and this "
                f"server takes at most {self._max_calls:,}: ask for fewer, or have the operator raise --max-calls",
                key="layers",
            )
        if mixture.allow_unpriced and not self._may_be_unpriced.issuperset(mixture.references):
            message = "a request may not allow unpriced models: only the operator's mixture may, for its own models"
            raise MixtureError(message, key="allow_unpriced")
        for agent in mixture.agents:
            self._check(agent)
        return mixture

    def _check(self, agent: Agent) -> None:
        """Make sure that an agent stays within what the operator has set.

        Raises:
            MixtureError: It doesn't.
        """
        if agent.price is not None and (agent.model, agent.price) not in self._prices:
            raise MixtureError(f"a request may not set prices, as for {agent.model}", key="price")
        if agent.extra and (agent.model, agent.extra) not in self._extras:
            message = f"a request may not set fields of a service's own, as for {agent.model}"
            raise MixtureError(message, key="extra")
        if agent.timeout_s > self._max_timeout_s or agent.idle_timeout_s > self._max_idle_timeout_s:
            message = (
                f"a request may set at most {self._max_timeout_s:g} s, and {self._max_idle_timeout_s:g} s of silence"
            )
            raise MixtureError(message, key="timeout_s")
        for reference in (agent.model, *agent.fallback):
            if reference in self.references:
                continue
            if not self._allows_unserved_models:
                message = f"{reference!r:.120} is not served: a request may only name what GET /v1/models lists"
                raise MixtureError(message, key="model")
            endpoint = self._settings.endpoints.get(reference.partition("/")[0])
            if endpoint is not None and endpoint.kind == "local":
                raise MixtureError(f"a request may not load another local model: {reference!r:.120}", key="model")


def without_layers(mixture: Mixture) -> Mixture:
    """Return the mixture's aggregator alone."""
    return mixture.model_copy(update={"layers": ()})


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings merged all the way down; everything else replaced."""
    merged = dict(base)
    for key, value in changes.items():
        known = merged.get(key)
        merged[key] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


def needs_prices(models: ServedModels, settings: Settings) -> bool:
    """Whether anything that is served is priced, or measured, by the table of prices."""
    names = {reference.partition("/")[0] for reference in models.references}
    return any(settings.endpoints[name].price_provider for name in names if name in settings.endpoints)

"""Models ready to be asked: providers opened once for each endpoint, with their prices."""

import asyncio
from collections.abc import Mapping

from moa.config import Settings
from moa.engine.plan import Model
from moa.prices import Price, find_price, warm
from moa.providers.base import Provider
from moa.providers.endpoint import Endpoint
from moa.providers.metered import Metered
from moa.providers.registry import open_provider


class Catalogue:
    """The engine's models, out of the settings' endpoints.

    Args:
        settings: Endpoints, completely resolved.
        given: Providers in place of those of the settings, by endpoint name; whoever gave them closes them.
    """

    def __init__(self, settings: Settings, given: Mapping[str, Provider]) -> None:
        self._settings = settings
        self._given = {name: Metered(provider) for name, provider in given.items()}
        self._opened: dict[str, Provider] = {}
        self._models: dict[tuple[str, Price | None], Model] = {}
        self._warming: asyncio.Future[None] | None = None

    def model(self, reference: str, price: Price | None) -> Model:
        """Return the model of a reference, the same one every time.

        Raises:
            ConfigError: Its endpoint is unknown or can't be used.
        """
        known = self._models.get((reference, price))
        if known is None:
            known = self._models[reference, price] = self._resolve(reference, price)
        return known

    def _resolve(self, reference: str, price: Price | None) -> Model:
        name, _, model_id = reference.partition("/")
        given = self._given.get(name)
        endpoint = Endpoint(name=name, kind="given") if given else self._settings.endpoint(reference)[0]
        if endpoint.price_provider and self._warming is None:
            # The table of prices takes a second to load: a thread does it while the first models think.
            self._warming = asyncio.ensure_future(asyncio.to_thread(warm))
        return Model(
            reference=reference,
            id=model_id,
            provider=given or self._provider(endpoint),
            price=find_price(endpoint.price_provider, model_id, own=endpoint.prices, override=price),
        )

    def _provider(self, endpoint: Endpoint) -> Provider:
        if endpoint.name not in self._opened:
            self._opened[endpoint.name] = Metered(open_provider(endpoint))
        return self._opened[endpoint.name]

    async def prices_ready(self) -> None:
        """Wait until prices can be asked without blocking the event loop."""
        if self._warming is not None and not self._warming.done():
            await asyncio.shield(self._warming)

    async def aclose(self) -> None:
        """Close every provider that was opened here."""
        opened, self._opened = self._opened, {}
        self._models.clear()
        await self.prices_ready()
        for provider in opened.values():
            await provider.aclose()

"""Models ready to be asked: providers opened once for each endpoint, wrapped in its policies, with their prices."""

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from moa._config.settings import Settings
from moa._engine.forecast import Expectations
from moa._engine.plan import Model
from moa._ledger import Now
from moa._policies.budget import BudgetPolicy
from moa._policies.cache.async_store import AsyncStore
from moa._policies.cache.key import cache_key
from moa._policies.cache.policy import Cache
from moa._policies.cache.settings import CacheSettings
from moa._policies.call_statistics import CallRecorder
from moa._policies.circuit_breaker import Breaker
from moa._policies.hedge import Hedged
from moa._policies.learnt_profile import LearntProfile, Profile
from moa._policies.metering import Metered
from moa._policies.pacing import Paced, Turnstile
from moa._policies.profile_store import ProfileStore
from moa._policies.rate_limits import Limiter, Limits
from moa._policies.retry import Retry
from moa._policies.sample_calls import AsksForSamples, SampleCalls
from moa._policies.service_tier import ServiceTier
from moa._policies.shared_breaker import SharedBreaker
from moa._policies.shared_window import SharedRates
from moa._pricing.lookup import find_price, in_tier, preload
from moa._pricing.price import Price
from moa._state.store import StateStore
from moa.providers._base import Provider
from moa.providers._batch_jobs.batcher import Batcher
from moa.providers._batch_jobs.service import TIER, JobStatus
from moa.providers._batch_jobs.store import BatchJob, JobStore
from moa.providers._batch_jobs.stored_replies import StoredReplies
from moa.providers._endpoint import Endpoint, LimitSettings
from moa.providers._known_refusals import known_refusals
from moa.providers._redaction import endpoint_label
from moa.providers._registry import open_batch_service, open_provider

AT_ONCE = 16
"""Concurrent calls of an endpoint without limits while others are asked by batch jobs."""


class ModelPool:
    """The engine's models, out of the settings' endpoints.

    Args:
        settings: Endpoints, completely resolved.
        given: Providers in place of those that the settings would open, by endpoint name; who gave them closes
            them. An endpoint that the settings don't know has neither retries nor a breaker.
        now: Monotonic clock, in seconds.
        cache: Where replies are kept, and how they are used.
        state: Where limits and breakers are shared with other processes, None if they aren't.
        batch_jobs: Folder of the jobs of the endpoints with a batch API; None: all calls are made at once.
    """

    def __init__(
        self,
        settings: Settings,
        given: Mapping[str, Provider],
        now: Now,
        cache: CacheSettings,
        state: StateStore | None = None,
        batch_jobs: Path | None = None,
    ) -> None:
        self.on_batch_jobs: Callable[[], None] = lambda: None
        self._batch_jobs, self._job_store = batch_jobs, None if batch_jobs is None else JobStore(batch_jobs)
        self._batchers: list[Batcher] = []
        self._state = state
        self._settings, self._given, self._now, self._cache = settings, given, now, cache
        self._store: AsyncStore | None = None
        self._turnstile = Turnstile()
        self._opened: dict[str, Provider] = {}
        self._shared: dict[str, Provider] = {}
        self._models: dict[tuple[str, Price | None], Model] = {}
        self._lessons = ProfileStore(settings.profiles)
        self._call_recorder = CallRecorder()
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
        endpoint, model_id = self._endpoint(reference)
        if endpoint.price_provider and self._warming is None:
            # The table of prices takes a second to load: a thread does it while the first models think.
            self._warming = asyncio.get_running_loop().run_in_executor(None, preload)
        price_of = find_price(endpoint, model_id, override=price)
        if self.uses_batch(endpoint) and not _has_least_job(endpoint):
            # Where jobs have a least size, calls may be made at once and cost the usual price.
            price_of = partial(in_tier, price_of, TIER)
        twin = next((model for (known, _), model in self._models.items() if known == reference), None)
        return Model(
            reference=reference,
            id=model_id,
            provider=twin.provider if twin else self._with_policies(endpoint, model_id),
            price=price_of,
            tier=endpoint.tier,
        )

    def _endpoint(self, reference: str) -> tuple[Endpoint, str]:
        name, _, model_id = reference.partition("/")
        if name in self._given and name not in self._settings.endpoints:
            return Endpoint(name=name, kind="given", retry=None, breaker=None), model_id
        return self._settings.endpoint(reference)

    def _with_policies(self, endpoint: Endpoint, model_id: str) -> Provider:
        """One model's own stack, over what it shares with the endpoint's other models."""
        if self.uses_batch(endpoint):
            return self._with_batch_policies(endpoint, model_id)
        # Also without any limit: a model whose service throttles lets no call through while it asks to wait.
        limits, name = endpoint.limits_of(model_id), f"{endpoint.name}/{model_id}"
        provider: Provider = Limits(
            self._endpoint_provider(endpoint),
            Limiter(limits, self._now, self._shared_rates(f"{endpoint.name}/{model_id}")),
        )
        if endpoint.breaker is not None:
            if self._state is None:
                provider = Breaker(provider, endpoint.breaker, self._now)
            else:
                provider = SharedBreaker(provider, endpoint.breaker, self._now, store=self._state, name=name)
        provider = LearntProfile(BudgetPolicy(provider), self._profile(endpoint, model_id))
        if endpoint.retry is not None:
            provider = Retry(provider, endpoint.retry, now=self._now)
        return Paced(self._cached(ServiceTier(Hedged(provider), endpoint.tier), endpoint), self._turnstile)

    def _with_batch_policies(self, endpoint: Endpoint, model_id: str) -> Provider:
        """Hours pass between a request and its reply: no second attempts, breakers or limits per minute.

        A job may fail whole, so the retries of a minute aren't a share of that minute's calls.
        """
        provider: Provider = BudgetPolicy(self._endpoint_provider(endpoint))
        provider = LearntProfile(provider, self._profile(endpoint, model_id), scouts=False)
        if endpoint.retry is not None:
            provider = Retry(provider, replace(endpoint.retry, burst=math.inf), now=self._now)
        return Paced(self._cached(provider, endpoint), self._turnstile)

    def uses_batch(self, endpoint: Endpoint) -> bool:
        """Return whether the calls of an endpoint go into batch jobs."""
        return self._batch_jobs is not None and endpoint.batch is not None and endpoint.name not in self._given

    @property
    def running_jobs(self) -> list[tuple[BatchJob, JobStatus | None]]:
        """Return the batch jobs under way, with their last known states."""
        return [running for batcher in self._batchers for running in batcher.running.values()]

    def remove_batch_jobs(self) -> None:
        """Remove the folder of the batch jobs at the end."""
        if self._job_store is not None:
            self._job_store.is_temporary = True

    def _shared_rates(self, name: str) -> SharedRates | None:
        if self._state is None or self._settings.state is None:
            return None
        return SharedRates(store=self._state, name=name, on_failure=self._settings.state.on_failure)

    def _profile(self, endpoint: Endpoint, model_id: str) -> Profile:
        known, store = known_refusals(endpoint, model_id), self._lessons_of(endpoint)
        return Profile(endpoint_label(endpoint), model_id, known=known, store=store)

    def _lessons_of(self, endpoint: Endpoint) -> ProfileStore | None:
        # What was given or scripted has no address by which another process could know it again.
        shared = endpoint.kind not in ("given", "scripted") and endpoint.name not in self._given
        return self._lessons if shared else None

    def _cached(self, provider: Provider, endpoint: Endpoint) -> Provider:
        if self._cache.mode == "off":
            return provider
        if self._store is None:
            self._store = AsyncStore(self._cache)
        return Cache(provider, self._store, endpoint)

    def _endpoint_provider(self, endpoint: Endpoint) -> Provider:
        if endpoint.name not in self._shared:
            shared = self._given.get(endpoint.name) or self._open(endpoint)
            if isinstance(shared, AsksForSamples):
                shared = SampleCalls(shared, endpoint=endpoint_label(endpoint), store=self._lessons_of(endpoint))
            if self._job_store is not None and not self.uses_batch(endpoint):
                shared = StoredReplies(shared, self._job_store, endpoint.name, partial(cache_key, endpoint))
            record = partial(self._call_recorder.add, endpoint_label(endpoint))
            shared = Metered(shared, on_end=record if self._lessons_of(endpoint) else None)
            limits = endpoint.limits
            if limits.is_unlimited and self._batch_jobs is not None:
                # A wave of rows is under way at once, and this endpoint isn't asked by jobs.
                limits = LimitSettings(max_concurrency=AT_ONCE)
            if not limits.is_unlimited and not self.uses_batch(endpoint):
                shared = Limits(shared, Limiter(limits, self._now, self._shared_rates(endpoint.name)))
            self._shared[endpoint.name] = shared
        return self._shared[endpoint.name]

    def _open(self, endpoint: Endpoint) -> Provider:
        provider = open_provider(endpoint)
        service = open_batch_service(endpoint) if self.uses_batch(endpoint) else None
        if service is not None and endpoint.batch is not None and self._job_store is not None:
            limits = LimitSettings(max_concurrency=AT_ONCE) if endpoint.limits.is_unlimited else endpoint.limits
            provider = Batcher(
                Limits(provider, Limiter(limits, self._now)),
                service,
                self._job_store,
                endpoint=endpoint.name,
                settings=endpoint.batch,
                key=partial(cache_key, endpoint),
                on_jobs=lambda: self.on_batch_jobs(),
            )
            self._batchers.append(provider)
        self._opened[endpoint.name] = provider
        return provider

    @property
    def expectations(self) -> Expectations:
        """Return what the next replies are expected to be like, by those that were measured."""
        return Expectations(endpoints=self._settings.endpoints, measured=self._lessons.statistics())

    async def prices_ready(self) -> None:
        """Wait until prices can be asked without blocking the event loop."""
        if self._warming is not None and not self._warming.done():
            await asyncio.shield(self._warming)

    async def aclose(self) -> None:
        """Close every provider that was opened here, and the cache."""
        opened, self._opened = self._opened, {}
        store, self._store = self._store, None
        self._shared.clear()
        self._models.clear()
        await self.prices_ready()
        self._lessons.add_statistics(self._call_recorder.take())
        for provider in opened.values():
            await provider.aclose()
        self._batchers.clear()
        if self._job_store is not None:
            self._job_store.close()
        if store is not None:
            await store.aclose()


def _has_least_job(endpoint: Endpoint) -> bool:
    return endpoint.kind == "bedrock" or (endpoint.batch is not None and endpoint.batch.min_requests > 1)

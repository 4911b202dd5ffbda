"""The learnt profile: what a service refuses for a model is left out from then on, whatever kind of service it is.

Services refuse parameters and shapes of conversations that others take, and say so only when they are asked. The first
call that is refused asks again at once without the part at fault. Once a request without it was taken, that is a
lesson: it is remembered, and no later call is refused for it again.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Any

from moa._policies.profile_store import GOOD_FOR_S, Lesson, ProfileStore
from moa.errors import BadRequest, ProviderError, Rejection
from moa.providers._base import ModelRequest, Provider, ReplyEvent, ReplyStream, WholeReply, WrappedProvider
from moa.providers._rejections import parts_of, rejections
from moa.providers._reshaping import without, without_all

log = logging.getLogger(__name__)

MOST_TRIES = 16
"""Requests of one attempt at most: each leaves out one part more, and none has more parts that can be left out."""

SAME_WITHIN_S = 60.0
"""Seconds in which the same lesson isn't written down again."""

SCOUT_S = 1.0
"""Seconds that calls wait for the first one of their kind: refusals come well within it, and replies need not."""


class Profile:
    """What is known of one model's service.

    Args:
        endpoint: The endpoint's name and address, the key of what is remembered.
        model: The model's id there.
        known: What its service is known to refuse, before anything was learnt.
        store: Where lessons are kept.
    """

    def __init__(
        self, endpoint: str, model: str, *, known: frozenset[Rejection] = frozenset(), store: ProfileStore | None = None
    ) -> None:
        self.endpoint, self.model = endpoint, model
        self._store = store or ProfileStore()
        learnt = [entry for entry in self._store.lessons() if (entry.endpoint, entry.model) == (endpoint, model)]
        self._known, self._lessons = known, {entry.rejection: entry for entry in learnt}
        self._taken = self._store.taken(endpoint, model)
        self._opened: set[frozenset[str]] = set()
        self._retrying: set[Rejection] = set()
        self._scouts: dict[frozenset[str], asyncio.Event] = {}

    @property
    def refuses_seed(self) -> bool:
        """Whether a seed is never sent."""
        return any(Rejection("seed") in learnt for learnt in (self._known, self._lessons))

    @property
    def knows_anything(self) -> bool:
        """Whether there is anything that its service refuses."""
        return bool(self._known or self._lessons)

    def refused(self, parts: frozenset[str]) -> tuple[list[Rejection], list[Rejection]]:
        """Return what has to be left out of a request of these parts, and what is to be tried again by it.

        What was learnt long ago is tried again, by the first call that asks after that time.
        """
        found = [rejection for rejection in (*self._known, *self._lessons) if _applies(rejection, parts)]
        now = self._store.now()
        for rejection in found:
            entry = self._lessons.get(rejection)
            if entry and rejection not in self._retrying and entry.learnt_at + GOOD_FOR_S <= now:
                self._retrying.add(rejection)
                found.remove(rejection)
                return found, [rejection]
        return found, []

    def learn(self, rejection: Rejection, message: str) -> None:
        """Take in that a request was refused with this part and taken without it."""
        known, now = self._lessons.get(rejection), self._store.now()
        if known is not None and rejection not in self._retrying and now < known.learnt_at + SAME_WITHIN_S:
            return  # of many requests that were sent before the first was refused, each says the same
        is_news = known is None and rejection not in self._known
        entry = Lesson(
            endpoint=self.endpoint,
            model=self.model,
            rejection=rejection,
            learnt_at=now,
            message=message,
        )
        self._lessons[rejection] = entry
        self._retrying.discard(rejection)
        self._taken.clear()
        self._store.learn(entry)
        if is_news:
            log.info("%s/%s refuses %s: it is left out from now on (%s)", self.endpoint, self.model, rejection, message)

    def note_taken(self, parts: frozenset[str], retried: Iterable[Rejection]) -> None:
        """Take in that a request of these parts was taken, and with it what was tried again: no lesson any more."""
        for rejection in retried:
            self._retrying.discard(rejection)
            if self._lessons.pop(rejection, None) is not None:
                self._store.unlearn(self.endpoint, self.model, rejection)
        if parts not in self._taken:
            self._taken.add(parts)
            self._store.note_taken(self.endpoint, self.model, parts)

    def stop_retrying(self, retried: Iterable[Rejection]) -> None:
        """Take in that a call which tried a refused part again came to nothing: another one will try."""
        self._retrying.difference_update(retried)

    def has_taken(self, parts: frozenset[str]) -> bool:
        """Return whether a request of these parts was taken, or is being answered."""
        return parts in self._taken or parts in self._opened

    def scout(self, parts: frozenset[str]) -> asyncio.Event | None:
        """Return what to wait for before a request of these unknown parts is sent; None if it is the first.

        The first one is to set it: `scouted`.
        """
        ahead = self._scouts.get(parts)
        if ahead is None:
            self._scouts[parts] = asyncio.Event()
        return ahead

    def scouted(self, parts: frozenset[str], *, opened: bool) -> None:
        """Let those go on that wait for the first request of these parts: its reply has begun, or it failed."""
        if opened:
            self._opened.add(parts)
        ahead = self._scouts.pop(parts, None)
        if ahead is not None:
            ahead.set()


def _applies(rejection: Rejection, parts: frozenset[str]) -> bool:
    return rejection.part in parts and (rejection.beside is None or rejection.beside in parts)


def _rejects(error: ProviderError, request: ModelRequest) -> tuple[Rejection, ...]:
    if error.rejects or not isinstance(error, BadRequest):
        return error.rejects
    # A provider of another package may leave it at its service's words.
    return rejections(status=error.status, code="", parameter="", message=str(error.args[0]), request=request)


class LearntProfile(WrappedProvider):
    """Leaves out what a model's service refuses, and learns it.

    Stands inside of the retries, which concern faults that may pass, and outside of budget, breaker and limits: each
    request that is sent is an attempt of its own to them and in the ledger.

    Args:
        inner: The provider.
        profile: What is known of the model's service.
        scouts: Whether requests of a new kind wait for the first one of it; if not, they say that they are untried.
    """

    def __init__(self, inner: Provider, profile: Profile, *, scouts: bool = True) -> None:
        super().__init__(inner)
        self.profile, self._scouts = profile, scouts

    @property
    def takes_seed(self) -> bool:
        """Whether the service honors a seed."""
        return self.inner.takes_seed and not self.profile.refuses_seed

    def stream(self, request: ModelRequest) -> ReplyStream:
        """Open a reply, asking again without what is refused."""
        return _AdaptedCall(self.inner, self.profile, request, scouts=self._scouts)


class _AdaptedCall:
    """One request, again with less of it as long as its service says what is too much.

    A class in place of a generator: every call passes here, though hardly any is refused.
    """

    __slots__ = (
        *("_begun", "_events", "_inner", "_manager", "_parts", "_profile", "_request", "_retried", "_scouts"),
        *("_last_message", "_says_untried", "_tried", "_useless"),
    )

    def __init__(self, inner: Provider, profile: Profile, request: ModelRequest, *, scouts: bool) -> None:
        self._inner, self._profile, self._request = inner, profile, request
        self._scouts, self._says_untried = scouts and request.context.batch is None, not scouts
        self._parts = parts_of(request)
        self._tried: tuple[Rejection, ...] = ()
        self._useless: tuple[Rejection, ...] = ()
        self._retried: tuple[Rejection, ...] = ()
        self._last_message = ""
        self._begun = False
        self._manager: ReplyStream | None = None
        self._events: AsyncIterator[ReplyEvent]

    def __aenter__(self) -> Coroutine[Any, Any, AsyncIterator[ReplyEvent]]:
        # The samples of a batch go out together, by one call if the service has that: none is sent ahead.
        return self._scout() if self._scouts and not self._profile.has_taken(self._parts) else self._open()

    async def _scout(self) -> AsyncIterator[ReplyEvent]:
        """Open the first reply to a request of its kind, or one behind it."""
        ahead = self._profile.scout(self._parts)
        if ahead is not None:
            await self._wait_for(ahead)
            return await self._open()
        opened = False
        try:
            events = await self._open()
            opened = True
        finally:
            self._profile.scouted(self._parts, opened=opened)
        return events

    async def _wait_for(self, ahead: asyncio.Event) -> None:
        """Wait until the first request of this kind is through, or for a while."""
        context = self._request.context.asked()
        with context.waiting(), suppress(TimeoutError):
            async with asyncio.timeout(SCOUT_S):
                await ahead.wait()
        self._request = replace(self._request, context=context)

    async def _open(self) -> AsyncIterator[ReplyEvent]:
        """Open a reply, again without what its service turns down."""
        while True:
            request = self._without_what_is_refused()
            if self._says_untried and not self._profile.has_taken(self._parts):
                request = replace(request, context=replace(request.context, untried=True))
            try:
                manager = self._inner.stream(request)
                events = await manager.__aenter__()
            except ProviderError as error:
                if not self._goes_on_after(error, request):
                    raise
            else:
                self._manager, self._events = manager, events
                if isinstance(events, WholeReply):
                    self._note_taken()
                    return events
                return self

    def _without_what_is_refused(self) -> ModelRequest:
        if not (self._profile.knows_anything or self._tried):
            return self._request
        refused, retried = self._profile.refused(self._parts)
        self._retried = (*self._retried, *retried)
        left_out = tuple(dict.fromkeys((*refused, *self._tried)))
        if not left_out:
            return self._request
        request = without_all(self._request, left_out)
        return replace(request, context=replace(request.context, dropped=tuple(map(str, left_out))))

    def _goes_on_after(self, error: ProviderError, request: ModelRequest) -> bool:
        """Whether the request may be taken without something that the error names; it is left out then."""
        message = str(error.args[0])
        if self._tried and message == self._last_message:
            # Leaving it out has changed nothing, so it isn't to blame, or not alone.
            *tried, useless = self._tried
            self._tried, self._useless = tuple(tried), (*self._useless, useless)
        self._last_message = message
        for rejection in _rejects(error, request) if len(self._tried) < MOST_TRIES else ():
            known = (*self._tried, *self._useless)
            if rejection not in known and without(request, rejection.part) is not None:
                self._tried = (*self._tried, rejection)
                return True
        if len(self._useless) > 1:
            self._tried, self._useless = (*self._tried, *self._useless), ()
            self._last_message = ""
            return True
        self._profile.stop_retrying(self._retried)
        return False

    def __aiter__(self) -> AsyncIterator[ReplyEvent]:
        return self

    def __anext__(self) -> Awaitable[ReplyEvent]:
        return anext(self._events) if self._begun else self._first()

    async def _first(self) -> ReplyEvent:
        """The first event: with it the request was taken. Some services refuse inside of a reply that began well."""
        while True:
            try:
                event = await anext(self._events)
            except ProviderError as error:
                manager, self._manager = self._manager, None
                if manager is not None:
                    await manager.__aexit__(type(error), error, error.__traceback__)
                if not self._goes_on_after(error, self._request):
                    raise
                await self._open()
            else:
                self._note_taken()
                return event

    def _note_taken(self) -> None:
        self._begun = True
        for rejection in self._tried:
            self._profile.learn(rejection, self._last_message)
        self._profile.note_taken(self._parts, [again for again in self._retried if again not in self._tried])

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if not self._begun:
            self._profile.stop_retrying(self._retried)
        return None if self._manager is None else await self._manager.__aexit__(kind, error, trace)

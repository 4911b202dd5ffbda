"""What services list, remembered for a day: which models are to be retired, and what can be used."""

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from moa._config.settings import Settings
from moa.errors import ConfigError, MissingDependency, ProviderError
from moa.providers._endpoint import Endpoint
from moa.providers._model_lists import ListedModel, base_id, list_models
from moa.providers._successors import successor

MAX_AGE_S = 86_400.0
"""Seconds for which a list is good."""

RETRY_S = 3_600.0
"""Seconds until an endpoint that could not be asked is asked again, so that work without a network waits once."""

PATIENCE_S = 3.0
"""Seconds that an endpoint has, the search for its credentials included."""

_LISTS = TypeAdapter(tuple[ListedModel, ...])


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelList:
    """What one endpoint lists.

    Attributes:
        endpoint: Its name.
        models: Empty if it lists none.
        failure: Why it could not be asked; None if it could.
    """

    endpoint: str
    models: tuple[ListedModel, ...] = ()
    failure: str | None = None

    def find(self, model: str) -> ListedModel | None:
        """Return a model by its id; on Bedrock, one without a profile of its own by that of its model."""
        by_id = {one.id: one for one in self.models}
        return by_id.get(model) or by_id.get(base_id(model))


async def model_lists(
    settings: Settings,
    names: Iterable[str],
    *,
    fresh: bool = False,
    max_age_s: float = MAX_AGE_S,
    retry_s: float = RETRY_S,
    now: Callable[[], float] = time.time,
) -> tuple[ModelList, ...]:
    """Return what endpoints list, each as of the last day, or of another time.

    Args:
        settings: The endpoints, and the folder in which lists are kept.
        names: Of the endpoints.
        fresh: Whether to ask also where a list that is good is there.
        max_age_s: Seconds for which a list is good.
        retry_s: Seconds until an endpoint that could not be asked is asked again.
        now: The time, in seconds of Unix time.
    """
    path = None if settings.profiles is None else settings.profiles.with_name("models.json")
    known, found = _read(path), dict[str, ModelList]()
    wanted = [settings.endpoints[name] for name in dict.fromkeys(names) if name in settings.endpoints]
    missing = []
    for endpoint in wanted:
        entry = known.get(_key(endpoint))
        good_s = max_age_s if entry is not None and entry["failure"] is None else retry_s
        if fresh or entry is None or not 0 <= now() - entry["at"] < good_s:
            missing.append(endpoint)
        else:
            models = _LISTS.validate_python(entry["models"])
            found[endpoint.name] = ModelList(endpoint=endpoint.name, models=models, failure=entry["failure"])
    asked = await asyncio.gather(*(_ask(endpoint, settings) for endpoint in missing))
    for endpoint, answer in zip(missing, asked, strict=True):
        found[endpoint.name] = answer
        models = _LISTS.dump_python(answer.models, mode="json")
        known[_key(endpoint)] = {"at": now(), "models": models, "failure": answer.failure}
    if missing:
        _write(path, known)
    return tuple(found[endpoint.name] for endpoint in wanted)


async def _ask(endpoint: Endpoint, settings: Settings) -> ModelList:
    try:
        variable = settings.key_variables.get(endpoint.name)
        if variable is not None and endpoint.api_key is None:
            return ModelList(endpoint=endpoint.name, failure=f"{variable} is not set")
        async with asyncio.timeout(PATIENCE_S):
            return ModelList(endpoint=endpoint.name, models=await list_models(endpoint))
    except TimeoutError:
        return ModelList(endpoint=endpoint.name, failure=f"no list within {PATIENCE_S:g} s")
    except (ProviderError, ConfigError, MissingDependency) as error:
        return ModelList(endpoint=endpoint.name, failure=str(error.args[0]))


async def lifecycle_notes(
    references: Iterable[str], settings: Settings, *, today: date | None = None
) -> tuple[str, ...]:
    """Return what services say of the end of some models, one sentence each; nothing where nothing is known.

    Args:
        references: `endpoint/model-id` of each.
        settings: The endpoints.
        today: The date; None for today's.
    """
    today, pairs = today or datetime.now(UTC).date(), [one.partition("/")[::2] for one in dict.fromkeys(references)]
    lists = {one.endpoint: one for one in await model_lists(settings, (name for name, _ in pairs))}
    notes = []
    for name, model in pairs:
        listed = lists[name].find(model) if name in lists else None
        note = None if listed is None else listed.note(today)
        if note is not None and listed is not None:
            instead = successor(model) if listed.replacement is None else None
            if instead is not None and lists[name].find(instead) is None:
                instead = None  # not served at this endpoint
            notes.append(f"{name}/{model}: {note}" + (f"; {instead} is served today" if instead else ""))
    return tuple(notes)


def _key(endpoint: Endpoint) -> str:
    """An endpoint with the place that it asks; of the place, only a digest: it may hold a secret."""
    place = repr((endpoint.kind, endpoint.base_url, endpoint.endpoint_url, endpoint.region, endpoint.profile))
    return f"{endpoint.name} {hashlib.sha256(place.encode()).hexdigest()[:16]}"


def _read(path: Path | None) -> dict[str, Any]:
    """The lists that are kept; none if the file is missing or can't be used."""
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path is not None else {}
        return {key: entry for key, entry in known.items() if _is_entry(entry)}
    except (OSError, ValueError, AttributeError):
        return {}


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("at"), int | float) or "failure" not in entry:
        return False
    try:
        _LISTS.validate_python(entry.get("models"))
    except ValueError:
        return False
    return True


def _write(path: Path | None, known: Mapping[str, Any]) -> None:
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        unfinished.write_text(json.dumps(known), encoding="utf-8")
        unfinished.replace(path)
    except OSError:
        return  # only asked again

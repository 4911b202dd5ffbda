"""What a service says of its models: which there are, and until when.

OpenAI's `/v1/models` has `shutdown_date` (its deprecations page), Anthropic's `lifecycle` and `retires_at` (its SDK's
`ModelInfo`), Mistral's `deprecation` and `deprecation_replacement_model`, Groq's `active`; some have the context window
under one name or another. Bedrock's `ListFoundationModels` has `modelLifecycle` (botocore's service model).
"""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, Literal
from urllib.parse import quote

import orjson

from moa.errors import ConnectionFailed, ProviderError
from moa.providers._endpoint import Endpoint
from moa.providers._http import HttpRequest, HttpTransport, Transport
from moa.providers._openai_compatible.provider import address, headers_of
from moa.providers._redaction import Secrets, texts_of

TIMEOUT_S = 2.5
"""Seconds that a service has to list its models."""

MAX_BYTES = 8_000_000
MOST_MODELS = 2_000
"""Most of an endpoint's models; the largest lists of today have some hundreds."""

SOON_DAYS = 120
"""A retirement within so many days is told."""

Status = Literal["active", "legacy", "retired"]

_REGION = re.compile(r"^(?:us|us-gov|eu|apac|jp|au|ca|sa|me|af|global)\.")
_PAGE = 1_000  # the most that ListInferenceProfiles gives at once
_ENDS = ("shutdown_date", "retires_at", "deprecation", "retirement_date", "endOfLifeTime")
_WINDOWS = ("context_window", "context_length", "max_context_length", "max_model_len", "max_input_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedModel:
    """One model as its service lists it.

    Attributes:
        id: The service's name of it.
        status: `legacy`: closed to new users, or to be retired.
        ends_on: The day on which it is, or was, retired; None if none is announced.
        context_window: Tokens; None if it isn't told.
        replacement: What the service recommends in its place; None if it recommends nothing.
    """

    id: str
    status: Status = "active"
    ends_on: date | None = None
    context_window: int | None = None
    replacement: str | None = None

    def note(self, today: date) -> str | None:
        """Return what a user has to know of its lifecycle; None if there is nothing."""
        instead = f"; use {self.replacement}" if self.replacement else ""
        if self.status == "retired" or (self.ends_on is not None and self.ends_on <= today):
            since = f" since {self.ends_on}" if self.ends_on else ""
            return f"retired{since}{instead}"
        days = None if self.ends_on is None else (self.ends_on - today).days
        if days is not None and (days <= SOON_DAYS or self.status == "legacy"):
            return f"retires in {days} day{'s' if days != 1 else ''} ({self.ends_on}){instead}"
        return f"legacy: closed to new users, or to be retired{instead}" if self.status == "legacy" else None


def base_id(model: str) -> str:
    """Return the id of a Bedrock model without the region of an inference profile."""
    return _REGION.sub("", model)


async def list_models(endpoint: Endpoint) -> tuple[ListedModel, ...]:
    """Return what an endpoint lists; nothing for kinds that list none.

    Raises:
        ProviderError: It can't be asked, or its answer isn't a list of models.
        MissingDependency: It is on Bedrock, and botocore isn't installed.
    """
    transport = HttpTransport(proxy=endpoint.proxy, ca_bundle=endpoint.ca_bundle)
    try:
        if endpoint.kind == "bedrock":
            return await _bedrock(transport, endpoint)
        if endpoint.kind == "openai" and endpoint.base_url:
            found = await _json(transport, address(endpoint, "models"), headers_of(endpoint), endpoint.name)
            secrets = Secrets(texts_of(endpoint))
            return tuple(replace(one, id=secrets.hide(one.id)) for one in _from_openai(found))
    finally:
        await transport.aclose()
    return ()


async def _json(transport: Transport, url: str, headers: Mapping[str, str], name: str) -> Any:
    request = HttpRequest(url=url, headers=headers, body=b"", method="GET", reference=name, max_bytes=MAX_BYTES)
    try:
        async with asyncio.timeout(TIMEOUT_S), transport(request) as response:
            if response.status != 200:
                raise ProviderError(f"lists no models: HTTP {response.status}", model=name, status=response.status)
            return orjson.loads(await response.read())
    except TimeoutError as error:
        raise ConnectionFailed(f"lists no models within {TIMEOUT_S:g} s", model=name) from error
    except orjson.JSONDecodeError as error:
        raise ProviderError("lists no models: the answer is not JSON", model=name) from error


async def _bedrock(transport: Transport, endpoint: Endpoint) -> tuple[ListedModel, ...]:
    # Imported here: Bedrock is optional.
    from moa.providers._bedrock.aws import Aws

    aws = Aws(endpoint, service="bedrock")

    async def get(path: str) -> Any:
        url, headers = await aws.signed(path, b"", reference=endpoint.name, method="GET")
        return await _json(transport, url, headers, endpoint.name)

    models = {one.id: one for one in _from_bedrock(await get("/foundation-models"))}
    profiles: list[dict[str, Any]] = []
    token: str | None = ""
    while token is not None and len(profiles) < MOST_MODELS:
        next_page = f"&nextToken={quote(token, safe='')}" if token else ""
        try:
            found = await get("/inference-profiles" + f"?maxResults={_PAGE}{next_page}")
        except ProviderError:
            break  # another permission; the models are known without it
        page = _dicts(found, "inferenceProfileSummaries")
        profiles += page
        more = found.get("nextToken") if isinstance(found, dict) else None
        token = more if page and isinstance(more, str) and more else None
    for profile in profiles:
        name = profile.get("inferenceProfileId")
        if isinstance(name, str) and base_id(name) in models and name not in models:
            base = models[base_id(name)]
            models[name] = ListedModel(id=name, status=base.status, ends_on=base.ends_on)
    return tuple(models.values())


def _from_openai(data: Any) -> Iterator[ListedModel]:
    rows = data if isinstance(data, list) else _dicts(data, "data")
    for row in [row for row in rows if isinstance(row, dict)][:MOST_MODELS]:
        name = row.get("id")
        if not isinstance(name, str):
            continue
        stated = row.get("lifecycle") or row.get("status")
        status: Status = "active"
        if stated == "retired" or row.get("active") is False:
            status = "retired"
        elif stated in ("deprecated", "legacy"):
            status = "legacy"
        replacement = row.get("deprecation_replacement_model")
        yield ListedModel(
            id=name,
            status=status,
            ends_on=_day(row),
            context_window=next((row[key] for key in _WINDOWS if isinstance(row.get(key), int)), None),
            replacement=replacement if isinstance(replacement, str) and replacement else None,
        )


def _from_bedrock(data: Any) -> Iterator[ListedModel]:
    for row in _dicts(data, "modelSummaries")[:MOST_MODELS]:
        name, lifecycle = row.get("modelId"), row.get("modelLifecycle")
        if not isinstance(name, str):
            continue
        life = lifecycle if isinstance(lifecycle, dict) else {}
        yield ListedModel(id=name, status="legacy" if life.get("status") == "LEGACY" else "active", ends_on=_day(life))


def _dicts(data: Any, key: str) -> Sequence[dict[str, Any]]:
    rows = data.get(key) if isinstance(data, dict) else None
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _day(row: Mapping[str, Any]) -> date | None:
    """The day of retirement, as a date, a time, or seconds of Unix time; None if there is none that can be read."""
    for key in _ENDS:
        value = row.get(key)
        try:
            if isinstance(value, str) and value:
                return datetime.fromisoformat(value).date()
            if isinstance(value, int | float) and not isinstance(value, bool):
                return datetime.fromtimestamp(value, UTC).date()
        except (ValueError, OverflowError, OSError):
            continue
    return None

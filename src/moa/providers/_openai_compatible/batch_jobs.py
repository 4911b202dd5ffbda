"""OpenAI's batch API, which Azure, Groq and Together have too: a file of requests, a batch, files of replies.

Sources: OpenAI's API reference (Files, Batch), Groq's and Together's Python clients. Together answers the upload with
another address, and its batches have no metadata: there, a batch is found by its input file.
"""

import asyncio
import codecs
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from yarl import URL

from moa.errors import BadRequest, BrokenReply, ConnectionFailed, ModelNotFound, ProviderError, ServiceFailed
from moa.providers._base import ModelRequest, Provider, ReplyEvent
from moa.providers._batch_jobs.service import JobStatus
from moa.providers._batch_jobs.store import BatchJob
from moa.providers._endpoint import BatchSettings, Endpoint
from moa.providers._error_body import error_body_of, parse_error_body
from moa.providers._error_mapping import map_error
from moa.providers._http import HttpRequest, HttpResponse, HttpTransport, Transport
from moa.providers._lenient_json import loads
from moa.providers._openai_compatible.decode import decode_reply
from moa.providers._openai_compatible.encode import encode
from moa.providers._openai_compatible.provider import address, headers_of
from moa.providers._redaction import Secrets, texts_of
from moa.providers._reply_context import ReplyContext

log = logging.getLogger(__name__)

TIMEOUT_S = 60.0
"""Seconds for a small request."""

TRANSFER_S = 3600.0
"""Seconds for an upload or a download."""

IDLE_S = 120.0
"""Longest silence in a download, in seconds."""

MOST_LISTED = 50
"""Pages of batches that are searched for a job."""

_ENDED = frozenset({"completed", "failed", "expired", "cancelled", "canceled", "succeeded", "error"})
"""Final states; whatever else a service calls its states, a batch in one of them goes on."""

_NOT_VISIBLE = re.compile(r"\bfile\b.*(not find|not found|not exist|no access|not have access)|cannot find file", re.I)
"""What services say of a file that they have just taken, until all of their parts know it."""

_OVER_QUOTA = re.compile(r"token_limit|enqueued|quota|too many batches", re.IGNORECASE)
_LARGEST = 2**40


class OpenAIBatchService:
    """The batch API of an endpoint.

    Args:
        endpoint: The endpoint.
        settings: How its batch API is used.
        transport: What requests are sent with; None: connections of its own.

    Raises:
        ConfigError: The endpoint's address or a header can't be used.
    """

    def __init__(self, endpoint: Endpoint, settings: BatchSettings, transport: Transport | None = None) -> None:
        self.fewest = settings.min_requests
        self.most, self.most_bytes = settings.max_requests, settings.max_mb * 1_000_000
        self._endpoint, self._settings = endpoint, settings
        self._headers = headers_of(endpoint)
        self._secrets = Secrets(texts_of(endpoint))
        self._own = None
        if transport is None:
            transport = self._own = HttpTransport(proxy=endpoint.proxy, ca_bundle=endpoint.ca_bundle)
        self._transport: Transport = transport
        address(endpoint, "batches")
        # Azure's requests name the path without the version.
        usual = "/chat/completions" if ".azure." in (endpoint.base_url or "") else "/v1/chat/completions"
        self._path = settings.url or usual

    def line(self, key: str, request: ModelRequest) -> bytes:
        """Return a request as a line of a job's input."""
        head = orjson.dumps({"custom_id": key, "method": "POST", "url": self._path})
        return head[:-1] + b',"body":' + encode(request) + b"}\n"

    def key_of(self, line: bytes) -> str:
        """Return the key of a line."""
        return str(orjson.loads(line)["custom_id"])

    async def upload(self, job: BatchJob, path: Path) -> str:
        """Upload a job's input, and return the id of the file."""
        if self._settings.upload == "redirect":
            return await self._upload_by_redirect(job, path)
        with path.open("rb") as file:
            form = aiohttp.FormData()
            form.add_field("purpose", "batch")
            form.add_field("file", file, filename=path.name, content_type="application/jsonl")
            uploaded = await self._json(job, "POST", "files", form, within_s=TRANSFER_S)
        return _id_of(uploaded, job)

    async def _upload_by_redirect(self, job: BatchJob, path: Path) -> str:
        form = aiohttp.FormData({"purpose": "batch-api", "file_name": path.name, "file_type": "jsonl"})
        async with self._response(job, "POST", "files", form) as response:
            target, file_id = response.headers.get("Location"), response.headers.get("X-Together-File-Id")
            if not target or not file_id:
                raise await self._failure(job, response)
        if not re.fullmatch(r"[\w-]+", file_id):
            raise BrokenReply("the upload got no usable file id", model=job.reference)
        with path.open("rb") as file:
            # The address carries its own permission: the key is for the API alone.
            request = HttpRequest(url=target, headers={}, body=file, reference=job.reference, method="PUT")
            async with self._exchange(request, TRANSFER_S) as response:
                if not 200 <= response.status < 300:
                    raise ServiceFailed(f"the upload failed: HTTP {response.status}", model=job.reference)
        await self._json(job, "POST", f"files/{file_id}/preprocess", None)
        return file_id

    async def create(self, job: BatchJob) -> str:
        """Create a batch of an uploaded file, and return its id."""
        body: dict[str, Any] = {
            "input_file_id": job.file_id,
            "endpoint": self._path,
            "completion_window": f"{self._settings.hours}h",
        }
        if self._settings.upload == "form":
            body["metadata"] = {"moa_job": job.token}
        try:
            created = await self._json(job, "POST", "batches", orjson.dumps(body))
        except (BadRequest, ModelNotFound) as error:
            if not _NOT_VISIBLE.search(str(error)):
                raise
            raise ServiceFailed(f"the input isn't visible yet: {error.args[0]}", model=job.reference) from error
        return _id_of(_unwrapped(created), job)

    async def find(self, job: BatchJob) -> str | None:
        """Return the id of the batch with this job's token or input file; None if there is none."""
        query: dict[str, str] = {"limit": "100"}
        for _ in range(MOST_LISTED):
            page = await self._json(job, "GET", "batches", None, query=query)
            batches = [batch for batch in (page if isinstance(page, list) else _rows(page)) if isinstance(batch, dict)]
            for batch in batches:
                metadata = batch.get("metadata")
                token = metadata.get("moa_job") if isinstance(metadata, dict) else None
                if token == job.token or (job.file_id is not None and batch.get("input_file_id") == job.file_id):
                    return _id_of(batch, job)
            if not batches or not isinstance(page, dict) or not page.get("has_more"):
                return None
            query["after"] = str(batches[-1].get("id"))
        return None

    async def status(self, job: BatchJob) -> JobStatus:
        """Return how a batch is doing."""
        batch = _unwrapped(await self._json(job, "GET", f"batches/{job.remote_id}", None))
        word = batch.get("status")
        if not isinstance(word, str):
            raise ModelNotFound(f"no batch: {self._shown(batch)}", model=job.reference)
        word = word.lower()
        counts = batch.get("request_counts")
        done = sum(_number(counts.get(name)) for name in ("completed", "failed")) if isinstance(counts, dict) else None
        faults = dict(self._faults(batch, job))
        message = self._message(batch)
        has_files = any(_file_ids(batch))
        if word not in _ENDED:
            state: Any = "running"
        elif word == "failed" and not has_files:
            state = "over_quota" if _OVER_QUOTA.search(f"{_codes(batch)} {message}") else "refused"
        else:
            state = "ended"
        return JobStatus(
            state=state,
            word=word,
            done=done,
            cancelled=word == "cancelled",
            message=message,
            faults=faults,
            details=batch,
        )

    def _faults(self, batch: Mapping[str, Any], job: BatchJob) -> Iterator[tuple[int, ProviderError]]:
        for fault in _errors(batch):
            if isinstance(line := fault.get("line"), int) and line > 0:
                body = error_body_of(fault, self._secrets)
                yield line - 1, map_error(body, ReplyContext(job.reference), status=400)

    def _message(self, batch: Mapping[str, Any]) -> str:
        first = next(_errors(batch), None) or batch.get("error")
        return error_body_of(first, self._secrets).message if first else ""

    def _shown(self, value: object) -> str:
        return error_body_of(value, self._secrets).message

    async def replies(self, job: BatchJob, status: JobStatus) -> AsyncGenerator[tuple[str, bytes]]:
        """Yield the key and the line of each request in the files of an ended batch."""
        for file_id in _file_ids(status.details):
            if file_id is not None:
                async with aclosing(self._lines(job, file_id)) as lines:
                    async for line in lines:
                        line = line.removeprefix(codecs.BOM_UTF8)
                        try:
                            yield str(loads(line)["custom_id"]), line
                        except (ValueError, KeyError, TypeError):
                            continue  # its request counts as missing

    async def _lines(self, job: BatchJob, file_id: str) -> AsyncGenerator[bytes]:
        try:
            async with self._response(job, "GET", f"files/{file_id}/content", None, within_s=TRANSFER_S) as response:
                if response.status != 200:
                    raise await self._failure(job, response)
                rest = b""
                async for chunk in response.chunks():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        yield line
                yield rest
        except ModelNotFound as error:
            log.warning("replies of batch job %s are gone from the service: %s", job.remote_id, error)

    def decode(self, reply: bytes, *, reference: str, request: ModelRequest | None) -> list[ReplyEvent]:
        """Return the events of a line.

        Raises:
            ProviderError: It is a failure.
        """
        record = loads(reply)
        response = record.get("response")
        if not isinstance(response, dict):
            error = error_body_of(record.get("error") or "no reply and no reason", self._secrets)
            if "expired" in error.code or "cancelled" in error.code:
                raise ServiceFailed(f"not processed: {error.message or error.code}", model=reference)
            raise map_error(error, ReplyContext(reference, request))
        status, body = response.get("status_code"), orjson.dumps(response.get("body"))
        if isinstance(status, int) and not 200 <= status < 300:
            complaint = parse_error_body(body, self._secrets)
            raise map_error(complaint, ReplyContext(reference, request), status=status)
        request_id = response.get("request_id")
        request_id = request_id if isinstance(request_id, str) else None
        return decode_reply(body, ReplyContext(reference, request, request_id, self._secrets))

    async def cancel(self, job: BatchJob) -> None:
        """End a batch."""
        await self._json(job, "POST", f"batches/{job.remote_id}/cancel", None)

    async def clean_up(self, job: BatchJob, status: JobStatus | None) -> None:
        """Delete a batch's files."""
        input_id = job.file_id or await self._uploaded(job)
        for file_id in (input_id, *_file_ids(status.details if status else {})):
            if file_id is not None:
                with suppress(ModelNotFound):  # an earlier process has removed it
                    await self._json(job, "DELETE", f"files/{file_id}", None)

    async def _uploaded(self, job: BatchJob) -> str | None:
        """Return the id of an input whose upload was not confirmed; None if there is none."""
        files = await self._json(job, "GET", "files", None)
        name = f"{job.token}.jsonl"
        found = (file for file in (files if isinstance(files, list) else _rows(files)) if isinstance(file, dict))
        return next((_id_of(file, job) for file in found if file.get("filename") == name), None)

    def at_once(self, provider: Provider) -> Provider:
        """Return the provider itself: every number of requests fits a job."""
        return provider

    async def aclose(self) -> None:
        """Close all connections."""
        if self._own is not None:
            await self._own.aclose()

    @asynccontextmanager
    async def _response(
        self,
        job: BatchJob,
        method: str,
        path: str,
        body: bytes | aiohttp.FormData | None,
        *,
        query: Mapping[str, str] | None = None,
        within_s: float = TIMEOUT_S,
    ) -> AsyncIterator[HttpResponse]:
        headers = dict(self._headers)
        if not isinstance(body, bytes):
            headers.pop("Content-Type")
        request = HttpRequest(
            url=str(URL(address(self._endpoint, path)).update_query(query or {})),
            headers=headers,
            body=body,
            reference=job.reference,
            method=method,
            idle_timeout_s=IDLE_S,
            max_bytes=_LARGEST,
        )
        async with self._exchange(request, within_s) as response:
            yield response

    @asynccontextmanager
    async def _exchange(self, request: HttpRequest, within_s: float) -> AsyncIterator[HttpResponse]:
        try:
            async with asyncio.timeout(within_s), self._transport(request) as response:
                yield response
        except TimeoutError as error:
            message = f"no whole reply of the batch API within {within_s:g} s"
            raise ConnectionFailed(message, model=request.reference) from error
        except ProviderError as error:
            self._secrets.redact(error)
            raise

    async def _json(self, job: BatchJob, method: str, path: str, body: Any, **options: Any) -> Any:
        async with self._response(job, method, path, body, **options) as response:
            if not 200 <= response.status < 300:
                raise await self._failure(job, response)
            content = await response.read()
        try:
            return loads(content) if content.strip() else {}
        except ValueError as error:
            raise BrokenReply("the reply isn't JSON", model=job.reference) from error

    async def _failure(self, job: BatchJob, response: HttpResponse) -> ProviderError:
        body = parse_error_body(await response.read(), self._secrets)
        return map_error(body, ReplyContext(job.reference), status=response.status, headers=response.headers)


def _unwrapped(answer: Any) -> Mapping[str, Any]:
    """Return the batch itself: Together has it in `job`."""
    if isinstance(answer, dict) and isinstance(answer.get("job"), dict):
        answer = answer["job"]
    return answer if isinstance(answer, dict) else {}


def _id_of(thing: Any, job: BatchJob) -> str:
    found = thing.get("id") if isinstance(thing, dict) else None
    # It becomes part of addresses.
    if not isinstance(found, str) or not re.fullmatch(r"[\w.:-]+", found):
        raise BrokenReply("the reply has no usable id", model=job.reference)
    return found


def _rows(page: Any) -> list[Any]:
    rows = page.get("data") if isinstance(page, dict) else None
    return rows if isinstance(rows, list) else []


def _file_ids(batch: Mapping[str, Any]) -> tuple[str | None, str | None]:
    output, errors = (batch.get(name) for name in ("output_file_id", "error_file_id"))
    usable = [one if isinstance(one, str) and re.fullmatch(r"[\w.:-]+", one) else None for one in (output, errors)]
    return usable[0], usable[1]


def _errors(batch: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    errors = batch.get("errors")
    rows = errors if isinstance(errors, list) else _rows(errors)
    return (row for row in rows if isinstance(row, dict))


def _codes(batch: Mapping[str, Any]) -> str:
    return " ".join(str(fault.get("code")) for fault in _errors(batch))


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0

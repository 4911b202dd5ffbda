"""Bedrock's batch inference: `CreateModelInvocationJob` over Converse's requests in S3.

Source: botocore's service model of `bedrock`, and Amazon Bedrock's guide to batch inference: a job has one model and at
least 100 records, its output is unordered, and a client token makes its creation idempotent. botocore's own clients
are used, in threads: these calls are few.
"""

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import orjson

from moa.errors import BadRequest, BrokenReply, ConfigError, ConnectionFailed, ProviderError, RateLimited, ServiceFailed
from moa.providers._base import ModelRequest, Provider, ReplyEvent, WrappedProvider
from moa.providers._batch_jobs.service import JobStatus
from moa.providers._batch_jobs.store import BatchJob
from moa.providers._bedrock import encode
from moa.providers._bedrock.aws import credentials_error, require_botocore
from moa.providers._bedrock.decode import whole_reply
from moa.providers._bedrock.error_mapping import from_response
from moa.providers._endpoint import BatchSettings, Endpoint
from moa.providers._lenient_json import loads
from moa.providers._redaction import Secrets, texts_of
from moa.providers._reply_context import ReplyContext

log = logging.getLogger(__name__)

FEWEST = 100
"""Fewest records of a job."""

LEAST_HOURS = 24
"""Least time that a job has to be given, in hours."""

LINES_AT_A_TIME = 500
"""Lines that a thread reads in one turn."""

_ENDED = frozenset({"Completed", "PartiallyCompleted", "Failed", "Stopped", "Expired"})
"""Final states; a job in any other one goes on."""

Result = TypeVar("Result")


class BedrockBatchService:
    """The batch inference of an endpoint.

    Args:
        endpoint: The endpoint; its own address, if it has one, is used for `bedrock`, too.
        settings: How batch inference is used.

    Raises:
        MissingDependency: botocore isn't installed.
        ConfigError: The bucket or the role is missing, or the endpoint has an API key, which can't write to S3.
    """

    def __init__(self, endpoint: Endpoint, settings: BatchSettings) -> None:
        require_botocore()
        place = f"endpoints.{endpoint.name}.batch"
        if settings.s3 is None or settings.role_arn is None:
            raise ConfigError("Bedrock's batch jobs need `s3` (s3://BUCKET/PREFIX) and `role_arn`", key=place)
        if endpoint.api_key is not None:
            raise ConfigError("batch jobs need AWS credentials: an API key can't write to S3", key=place)
        self.fewest = max(settings.min_requests, FEWEST)
        self.most, self.most_bytes = settings.max_requests, settings.max_mb * 1_000_000
        self._endpoint, self._settings = endpoint, settings
        bucket, _, prefix = settings.s3.removeprefix("s3://").partition("/")
        self._bucket, self._prefix, self._role = bucket, f"{prefix}/" if prefix else "", settings.role_arn
        self._secrets = Secrets(texts_of(endpoint))
        self._clients: dict[str, Any] = {}

    def line(self, key: str, request: ModelRequest) -> bytes:
        """Return a request as a record of a job's input."""
        # Written by the adapter, so that what can't be written is its error.
        return b'{"recordId":"' + key.encode() + b'","modelInput":' + encode.body(request) + b"}\n"

    def key_of(self, line: bytes) -> str:
        """Return the key of a record."""
        return str(orjson.loads(line)["recordId"])

    async def upload(self, job: BatchJob, path: Path) -> str:
        """Upload a job's input, and return its address."""
        key = f"{self._prefix}{job.token}/input.jsonl"

        def put() -> None:
            with path.open("rb") as file:
                self._client("s3").put_object(Bucket=self._bucket, Key=key, Body=file)

        await self._call(job, put)
        return f"s3://{self._bucket}/{key}"

    async def create(self, job: BatchJob) -> str:
        """Create a job, and return its ARN; a second creation with the same token gives the same job."""
        output = {"s3Uri": f"s3://{self._bucket}/{self._output(job)}"}
        if self._settings.kms_key is not None:
            output["s3EncryptionKeyId"] = self._settings.kms_key
        created = await self._call(
            job,
            lambda: self._client("bedrock").create_model_invocation_job(
                jobName=job.token,
                clientRequestToken=job.token,
                roleArn=self._role,
                modelId=job.model,
                modelInvocationType="Converse",
                inputDataConfig={"s3InputDataConfig": {"s3InputFormat": "JSONL", "s3Uri": job.file_id}},
                outputDataConfig={"s3OutputDataConfig": output},
                timeoutDurationInHours=max(self._settings.hours, LEAST_HOURS),
            ),
        )
        if not isinstance(created.get("jobArn"), str):
            raise BrokenReply("the created job has no ARN", model=job.reference)
        return str(created["jobArn"])

    def _output(self, job: BatchJob) -> str:
        return f"{self._prefix}{job.token}/output/"

    async def find(self, job: BatchJob) -> str | None:
        """Return the ARN of the job with this token; None if there is none."""
        found = await self._call(
            job, lambda: self._client("bedrock").list_model_invocation_jobs(nameContains=job.token, maxResults=10)
        )
        jobs = found.get("invocationJobSummaries", [])
        return next((str(one["jobArn"]) for one in jobs if one.get("jobName") == job.token and "jobArn" in one), None)

    async def status(self, job: BatchJob) -> JobStatus:
        """Return how a job is doing."""
        details = await self._call(
            job, lambda: self._client("bedrock").get_model_invocation_job(jobIdentifier=job.remote_id)
        )
        word, done = str(details.get("status")), details.get("processedRecordCount")
        state: Any = "ended" if word in _ENDED else "running"
        if word == "Failed" and not done:
            state = "refused"
        message = self._secrets.beginning(str(details.get("message") or ""), 500)
        return JobStatus(state=state, word=word, done=done, cancelled=word == "Stopped", message=message)

    async def replies(self, job: BatchJob, status: JobStatus) -> AsyncGenerator[tuple[str, bytes]]:
        """Yield the key and the line of each record in the output of an ended job."""
        for key in await self._call(job, lambda: self._keys(self._output(job))):
            if not key.endswith(".jsonl.out"):
                continue
            body = await self._call(job, partial(self._open, key))
            lines = body.iter_lines(1 << 20)
            try:
                while some := await self._call(job, partial(_some, lines)):
                    for line in some:
                        try:
                            yield str(loads(line)["recordId"]), line
                        except (ValueError, KeyError, TypeError):
                            continue  # its record counts as missing
            finally:
                body.close()

    def _open(self, key: str) -> Any:
        return self._client("s3").get_object(Bucket=self._bucket, Key=key)["Body"]

    def _keys(self, prefix: str) -> list[str]:
        pages = self._client("s3").get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        return [one["Key"] for page in pages for one in page.get("Contents", [])]

    def decode(self, reply: bytes, *, reference: str, request: ModelRequest | None) -> list[ReplyEvent]:
        """Return the events of a line.

        Raises:
            ProviderError: It is a failure.
        """
        record, context = loads(reply), ReplyContext(reference, request, secrets=self._secrets)
        output, error = record.get("modelOutput"), record.get("error")
        if isinstance(error, dict):
            code, message = error.get("errorCode"), str(error.get("errorMessage") or "no reason given")
            if "expired" in message.lower() or "timed out" in message.lower():
                raise ServiceFailed(f"not processed: {self._secrets.beginning(message, 500)}", model=reference)
            status = code if isinstance(code, int) else 400
            raise from_response(status, {}, orjson.dumps({"message": message}), context)
        if not isinstance(output, dict):
            raise BrokenReply("the record has neither a reply nor an error", model=reference)
        return whole_reply(orjson.dumps(output), context)

    async def cancel(self, job: BatchJob) -> None:
        """End a job."""
        await self._call(job, lambda: self._client("bedrock").stop_model_invocation_job(jobIdentifier=job.remote_id))

    async def clean_up(self, job: BatchJob, status: JobStatus | None) -> None:
        """Delete a job's input and output."""

        def delete() -> None:
            for key in self._keys(f"{self._prefix}{job.token}/"):
                self._client("s3").delete_object(Bucket=self._bucket, Key=key)

        await self._call(job, delete)

    def at_once(self, provider: Provider) -> Provider:
        """Return what asks for replies at once: in the flexible tier, where the model has it."""
        return _FlexOrStandard(provider)

    async def aclose(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            client.close()

    def _client(self, service: str) -> Any:
        # In a thread: the import and the look for credentials take some 0.4 s.
        if service not in self._clients:
            from botocore.config import Config  # type: ignore[import-untyped]
            from botocore.session import Session  # type: ignore[import-untyped]

            endpoint = self._endpoint
            proxies = None if endpoint.proxy is None else {"http": endpoint.proxy, "https": endpoint.proxy}
            self._clients[service] = Session(profile=endpoint.profile).create_client(
                service,
                region_name=endpoint.region,
                endpoint_url=endpoint.endpoint_url if service == "bedrock" else None,
                verify=endpoint.ca_bundle,
                config=Config(proxies=proxies, retries={"total_max_attempts": 1}),
            )
        return self._clients[service]

    async def _call(self, job: BatchJob, call: Callable[[], Result]) -> Result:
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError  # type: ignore[import-untyped]
        from botocore.exceptions import ConnectionError as Unreachable

        try:
            return await asyncio.to_thread(call)
        except ClientError as error:
            raise _mapped(error, job.reference, self._secrets) from error
        except (HTTPClientError, Unreachable) as error:
            raise ConnectionFailed(f"batch job: {error}", model=job.reference) from error
        except (BotoCoreError, ValueError) as error:
            raise credentials_error(error, job.reference) from error


def _some(lines: Iterator[bytes]) -> list[bytes]:
    return list(islice(lines, LINES_AT_A_TIME))


def _mapped(error: Any, reference: str, secrets: Secrets) -> ProviderError:
    about = error.response.get("Error", {})
    code, message = str(about.get("Code", "")), str(about.get("Message", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if code == "ServiceQuotaExceededException":
        return RateLimited(f"{code}: {secrets.beginning(message, 500)}", model=reference, status=status)
    body, headers = orjson.dumps({"message": message}), {"x-amzn-errortype": code}
    context = ReplyContext(reference, secrets=secrets)
    return from_response(status if isinstance(status, int) else 500, headers, body, context)


class _FlexOrStandard(WrappedProvider):
    """Asks in the flexible tier, which costs as little as a job; models without it in the usual tier."""

    def __init__(self, inner: Provider) -> None:
        super().__init__(inner)
        self._without: set[str] = set()

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ReplyEvent]]:
        extra = request.sampling.extra
        if request.model not in self._without and not {"service_tier", "serviceTier"} & extra.keys():
            flexible = replace(request, sampling=replace(request.sampling, extra={**extra, "service_tier": "flex"}))
            opened = False
            try:
                async with self.inner.stream(flexible) as events:
                    opened = True
                    yield events
                return
            except BadRequest as error:
                if opened or not re.search(r"tier", str(error), re.IGNORECASE):
                    raise
                self._without.add(request.model)
                log.warning("%s has no flexible tier: its calls cost the usual price", request.reference)
        async with self.inner.stream(request) as events:
            yield events

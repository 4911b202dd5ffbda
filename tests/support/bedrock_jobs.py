"""A fake of Bedrock's batch inference on loopback, with its inputs and outputs in S3.

Requests are checked with botocore's service model. S3 is another server's, or the same one's: it keeps objects by
bucket and key, as much of the API as botocore uses for a job.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import botocore.session
from aiohttp import web
from botocore.validate import ParamValidator

from tests.support.loopback import LoopbackServer

ROLE = "arn:aws:iam::123456789012:role/batch"
_ARN = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/{:012d}"
_PATTERNS = {
    "jobName": r"[a-zA-Z0-9]{1,63}(-*[a-zA-Z0-9\+\-\.]){0,63}",
    "clientRequestToken": r"[a-zA-Z0-9]{1,256}(-*[a-zA-Z0-9]){0,256}",
}


class BedrockJobs(LoopbackServer):
    """The server; `url` is known inside of its `async with` block.

    Attributes:
        answer: Returns Converse's output for a request, or an error's code and message.
        polls: Number of questions for its state after which a job ends.
        ends_as: The final status of each job, by its number; else `Completed`.
        processed: How often each prompt was processed in a job, by model and prompt: one half of the bill.
        processed_at_once: The same without a job: the other half.
        at_once: The tier of each request that came without a job; None for the usual one.
        has_flex: Whether models have the flexible tier.
        lose_create: Numbers of the creations that aren't confirmed.
        refuse_create: Numbers of the creations that exceed the quota of jobs.
        throttle: How often each operation is still throttled, by its name.
        record_fields: The fields of all records' inputs.
        is_untidy: Whether outputs have files of others, lines twice, a line cut off, and no manifest.
    """

    def __init__(self) -> None:
        super().__init__()
        self.answer: Callable[[str], tuple[int, str]] = lambda prompt: (200, f"re: {prompt}")
        self.polls = 1
        self.ends_as: dict[int, str] = {}
        self.processed: Counter[tuple[str, str]] = Counter()
        self.processed_at_once: Counter[tuple[str, str]] = Counter()
        self.at_once: list[str | None] = []
        self.has_flex = True
        self.lose_create: set[int] = set()
        self.refuse_create: set[int] = set()
        self.throttle: Counter[str] = Counter()
        self.is_untidy = False
        self.record_fields: set[str] = set()
        self.jobs: dict[str, dict[str, Any]] = {}
        self.objects: dict[tuple[str, str], bytes] = {}
        self.creations = 0
        self.storage: Any = None
        self._random = random.Random(3)
        model = botocore.session.get_session().get_service_model("bedrock")
        self._shape = model.operation_model("CreateModelInvocationJob").input_shape

    def routes(self) -> list[web.RouteDef]:
        """Return what the server answers."""
        return [
            web.post("/model-invocation-job", self._create),
            web.get("/model-invocation-jobs", self._list),
            web.get("/model-invocation-job/{arn:.+}", self._get),
            web.post("/model-invocation-job/{arn:.+}/stop", self._stop),
            web.post("/model/{model}/converse", self._converse),
            web.get("/{bucket}", self._list_objects),
            web.route("*", "/{bucket}/{key:.+}", self._object),
        ]

    async def answered(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Answer a request, unless it is throttled."""
        operation = handler.__name__.strip("_")
        if self.throttle[operation] > 0:
            self.throttle[operation] -= 1
            return _refused(429, "ThrottlingException", "Too many requests, please wait before trying again.")
        return await super().answered(request, handler)

    def _read(self, address: str) -> bytes:
        bucket, _, key = address.removeprefix("s3://").partition("/")
        if self.storage is not None:
            content: bytes = self.storage.get_object(Bucket=bucket, Key=key)["Body"].read()
            return content
        return self.objects[bucket, key]

    def _write(self, address: str, content: bytes) -> None:
        bucket, _, key = address.removeprefix("s3://").partition("/")
        if self.storage is not None:
            self.storage.put_object(Bucket=bucket, Key=key, Body=content)
        else:
            self.objects[bucket, key] = content

    async def _create(self, request: web.Request) -> web.Response:
        body, number = await request.json(), self.creations
        self.creations += 1
        faults = ParamValidator().validate(body, self._shape)
        assert not faults.has_errors(), faults.generate_report()
        assert all(re.fullmatch(pattern, body[name]) for name, pattern in _PATTERNS.items())
        assert (body["modelInvocationType"], body["roleArn"]) == ("Converse", ROLE)
        assert 24 <= body["timeoutDurationInHours"] <= 168
        if number in self.refuse_create:
            return _refused(400, "ServiceQuotaExceededException", "too many jobs")
        known = [arn for arn, job in self.jobs.items() if job["clientRequestToken"] == body["clientRequestToken"]]
        arn = known[0] if known else _ARN.format(len(self.jobs))
        self.jobs.setdefault(arn, {**body, "jobArn": arn, "status": "Submitted", "asked": 0, "number": len(self.jobs)})
        if number in self.lose_create:
            assert request.transport is not None
            request.transport.close()
        return web.json_response({"jobArn": arn})

    async def _list(self, request: web.Request) -> web.Response:
        wanted = request.query["nameContains"]
        found = [_shown(job) for job in self.jobs.values() if wanted in job["jobName"]]
        return web.json_response({"invocationJobSummaries": found})

    async def _get(self, request: web.Request) -> web.Response:
        job = self.jobs[unquote(request.match_info["arn"])]
        job["asked"] += 1
        if job["status"] in ("Submitted", "InProgress", "Stopping"):
            if job["status"] == "Stopping":
                self._end(job, "Stopped")
            elif job["asked"] >= self.polls:
                self._end(job, self.ends_as.get(job["number"], "Completed"))
            else:
                job["status"] = "InProgress"
        return web.json_response(_shown(job))

    async def _stop(self, request: web.Request) -> web.Response:
        self.jobs[unquote(request.match_info["arn"])]["status"] = "Stopping"
        return web.json_response({})

    def _end(self, job: dict[str, Any], status: str) -> None:
        job["status"] = status
        rows = [
            json.loads(line) for line in self._read(job["inputDataConfig"]["s3InputDataConfig"]["s3Uri"]).splitlines()
        ]
        assert len(rows) >= 100
        if status == "Failed":
            job["message"] = "the role can't read the bucket"
            return
        if status != "Completed":
            rows = rows[: len(rows) // 2]
        job["processedRecordCount"] = len(rows)
        lines = [json.dumps(self._record(job["modelId"], row)) for row in rows]
        self._random.shuffle(lines)
        place = job["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"]
        folder = f"{place.rstrip('/')}/{job['jobArn'].rpartition('/')[2]}"
        if self.is_untidy:
            self._write(f"{folder}/other.jsonl.out", b'{"recordId": "theirs", "modelOutput": {}}\n\xff\n[]\n')
            self._write(f"{folder}/input.jsonl.out", "\n".join([*lines, *lines[:5]]).encode() + b'\n{"recordId": "cut')
            return
        self._write(f"{folder}/input.jsonl.out", "\n".join(lines).encode())
        self._write(f"{folder}/manifest.json.out", b"{}")

    def _record(self, model: str, row: dict[str, Any]) -> dict[str, Any]:
        self.record_fields |= row["modelInput"].keys()
        prompt = row["modelInput"]["messages"][-1]["content"][0]["text"]
        code, text = self.answer(prompt)
        if code != 200:
            return {**row, "error": {"errorCode": code, "errorMessage": text}}
        self.processed[model, prompt] += 1
        return {**row, "modelOutput": output(text)}

    async def _converse(self, request: web.Request) -> web.Response:
        body = await request.json()
        tier = body.get("serviceTier", {}).get("type")
        if tier == "flex" and not self.has_flex:
            return _refused(400, "ValidationException", "The provided service tier is not supported for this model.")
        self.at_once.append(tier)
        prompt = body["messages"][-1]["content"][0]["text"]
        code, text = self.answer(prompt)
        if code != 200:
            return _refused(code, "ServiceUnavailableException", text)
        self.processed_at_once[unquote(request.match_info["model"]), prompt] += 1
        return web.json_response({**output(text), **({"serviceTier": {"type": tier}} if tier else {})})

    async def _list_objects(self, request: web.Request) -> web.Response:
        bucket, prefix = request.match_info["bucket"], request.query.get("prefix", "")
        keys = [key for place, key in sorted(self.objects) if place == bucket and key.startswith(prefix)]
        rows = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in keys)
        body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"
        return web.Response(body=body.encode(), content_type="application/xml")

    async def _object(self, request: web.Request) -> web.Response:
        place = request.match_info["bucket"], request.match_info["key"]
        if request.method == "PUT":
            self.objects[place] = await request.read()
            return web.Response(headers={"ETag": '"e"'})
        if request.method == "DELETE":
            del self.objects[place]
            return web.Response(status=204)
        return web.Response(body=self.objects[place])


def output(text: str) -> dict[str, Any]:
    """Return Converse's output: ten tokens in, five out."""
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15},
        "metrics": {"latencyMs": 1},
    }


def _shown(job: dict[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in job.items() if name not in ("asked", "number")}
    return {**shown, "submitTime": "2026-11-26T12:00:00Z"}


def _refused(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status, headers={"x-amzn-errortype": code})

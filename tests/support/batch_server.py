"""A fake of OpenAI's batch API on loopback: files, batches, and the faults that such services have.

::

    async with BatchServer() as server:
        server.answer = lambda body: ("text", 200)
        server.polls = 3                       # a batch ends when it was asked for so many times
        server.lose_create = {0}               # the first batch is created, but its reply never arrives
        server.expire = {1: 10}                # the second batch expires after ten of its requests
"""

import codecs
import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from aiohttp import web

from tests.support.loopback import LoopbackServer

Answer = Callable[[dict[str, Any]], tuple[object, int]]
"""Returns the text (or, with another status than 200, the error object) for the body of a request."""


class BatchServer(LoopbackServer):
    """The server; `base_url` is known inside of its `async with` block.

    Attributes:
        answer: What the models say.
        polls: Number of questions for its state after which a batch ends.
        processed: How often each request was processed in a batch, by its model and last message: the bill.
        processed_at_once: The same without a batch, at twice the price.
        asked_at_once: Number of requests that came without a batch.
        only_batches: Whether requests that come without a batch are refused, as deployments for batches do.
        lose_create: Numbers of the batches whose creation isn't confirmed.
        refuse_create: Numbers of creations that fail with a status, and create nothing.
        expire: Numbers of batches that expire, and after how many of their requests.
        drop_lines: Numbers of batches of whose output every second line is missing.
        refuse: The `errors` of a batch that is refused whole, by its number.
        waiting: State of a batch between its creation and its end.
        late_files: Questions for its state after a batch's end until its files are named.
        cut_downloads: Number of downloads that end after half of the file, without an error.
        hidden_inputs: Number of creations whose input the service doesn't know yet.
        odd_lines: Whether files begin with a byte order mark, and lines end with CRLF.
        most_enqueued: Most requests under way at once; what is beyond fails as the services' token limits do.
        forget: Numbers of batches that the service doesn't know any more.
        late_list: Number of lists in which the last batch is missing.
        lose_list: Whether batches can't be listed for the moment.
        unauthorized: Whether the key is refused.
        is_together: Whether uploads, lists and states are as Together has them.
        upload_headers: Names of the headers of the last upload by redirect, in lower case.
    """

    def __init__(self) -> None:
        super().__init__()
        self.answer: Answer = lambda body: (f"re: {body['messages'][-1]['content']}", 200)
        self.polls = 1
        self.processed: Counter[tuple[str, str]] = Counter()
        self.processed_at_once: Counter[tuple[str, str]] = Counter()
        self.asked_at_once = 0
        self.lose_create: set[int] = set()
        self.refuse_create: dict[int, int] = {}
        self.expire: dict[int, int] = {}
        self.drop_lines: set[int] = set()
        self.refuse: dict[int, list[dict[str, Any]]] = {}
        self.most_enqueued = 10**9
        self.waiting = "in_progress"
        self.late_list = self.late_files = self.cut_downloads = self.hidden_inputs = 0
        self.odd_lines = False
        self.forget: set[int] = set()
        self.lose_list = self.unauthorized = self.is_together = self.only_batches = False
        self.upload_headers: set[str] = set()
        self.files: dict[str, tuple[str, bytes]] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.deleted: list[str] = []
        self.creations = 0
        self._random = random.Random(7)

    @property
    def base_url(self) -> str:
        """Where the API is."""
        return f"{self.url}/v1"

    def routes(self) -> list[web.RouteDef]:
        """Return what the server answers."""
        return [
            web.post("/v1/files", self._upload),
            web.put("/elsewhere/{id}", self._put),
            web.post("/v1/files/{id}/preprocess", self._preprocess),
            web.get("/v1/files", self._list_files),
            web.get("/v1/files/{id}/content", self._content),
            web.delete("/v1/files/{id}", self._delete),
            web.post("/v1/batches", self._create),
            web.get("/v1/batches", self._list),
            web.get("/v1/batches/{id}", self._status),
            web.post("/v1/batches/{id}/cancel", self._cancel),
            web.post("/v1/chat/completions", self._chat),
        ]

    async def answered(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Answer a request, if its key is good."""
        return _error(401, "wrong key") if self.unauthorized else await super().answered(request, handler)

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        if self.is_together:
            assert (form["purpose"], form["file_type"]) == ("batch-api", "jsonl")
            file_id = self._new_file(str(form["file_name"]), b"")
            address = self.base_url.replace("/v1", f"/elsewhere/{file_id}")
            return web.Response(status=302, headers={"Location": address, "X-Together-File-Id": file_id})
        assert form["purpose"] == "batch"
        file = form["file"]
        assert isinstance(file, web.FileField)
        file_id = self._new_file(file.filename, file.file.read())
        return web.json_response({"id": file_id, "object": "file", "purpose": "batch"})

    async def _put(self, request: web.Request) -> web.Response:
        file_id = request.match_info["id"]
        self.upload_headers = {name.lower() for name in request.headers}
        self.files[file_id] = self.files[file_id][0], await request.read()
        return web.Response()

    async def _preprocess(self, request: web.Request) -> web.Response:
        return web.json_response({"id": request.match_info["id"]})

    def _new_file(self, name: str, content: bytes) -> str:
        file_id = f"file-{len(self.files) + 1}"
        self.files[file_id] = name, content
        return file_id

    async def _list_files(self, request: web.Request) -> web.Response:
        rows = [{"id": one, "filename": name} for one, (name, _) in self.files.items() if one not in self.deleted]
        return web.json_response({"data": rows, "has_more": False})

    async def _content(self, request: web.Request) -> web.Response:
        if request.match_info["id"] in self.deleted:
            return _error(404, "no such file")
        content = self.files[request.match_info["id"]][1]
        if self.cut_downloads:
            self.cut_downloads -= 1
            content = content[: len(content) // 2]
        return web.Response(body=content)

    async def _delete(self, request: web.Request) -> web.Response:
        self.deleted.append(request.match_info["id"])
        return web.json_response({"deleted": True})

    async def _create(self, request: web.Request) -> web.Response:
        body, number = await request.json(), self.creations
        self.creations += 1
        if status := self.refuse_create.get(number):
            return _error(status, "not now")
        if self.hidden_inputs:
            self.hidden_inputs -= 1
            return _error(400, f"Cannot find file {body['input_file_id']}, or project p does not have access to it.")
        batch_id = f"batch_{len(self.batches) + 1}"
        self.batches[batch_id] = {
            "id": batch_id,
            "object": "batch",
            "created_at": 1,
            "status": "validating",
            "asked": 0,
            "number": len(self.batches),
            **body,
        }
        if number in self.lose_create:
            assert request.transport is not None
            request.transport.close()
        return self._batch(batch_id)

    def _batch(self, batch_id: str) -> web.Response:
        shown = self._shown(self.batches[batch_id])
        if not self.is_together:
            return web.json_response(shown)
        assert "metadata" not in shown
        return web.json_response({"job": {**shown, "status": shown["status"].upper()}})

    async def _list(self, request: web.Request) -> web.Response:
        if self.lose_list:
            return _error(503, "not now")
        if self.is_together:
            return web.json_response([self._shown(batch) for batch in self.batches.values()])
        ids = [*reversed(self.batches)]
        if self.late_list:
            self.late_list -= 1
            ids = ids[1:]
        start = ids.index(request.query["after"]) + 1 if "after" in request.query else 0
        page = ids[start : start + 2]
        rows = [self._shown(self.batches[one]) for one in page]
        return web.json_response({"data": rows, "has_more": start + 2 < len(ids)})

    async def _status(self, request: web.Request) -> web.Response:
        batch = self.batches[request.match_info["id"]]
        if batch["number"] in self.forget:
            return _error(404, "no such batch")
        batch["asked"] += 1
        if batch["status"] in ("validating", "in_progress", "cancelling"):
            self._go_on(batch)
        elif batch["status"] == "completed" and batch["late"]:
            batch["late"] -= 1
        return self._batch(batch["id"])

    async def _cancel(self, request: web.Request) -> web.Response:
        batch = self.batches[request.match_info["id"]]
        if batch["status"] not in ("validating", "in_progress", "cancelling"):
            return _error(409, f"Cannot cancel a batch with status '{batch['status']}'.")
        batch["status"] = "cancelling"
        return web.json_response(self._shown(batch))

    def _shown(self, batch: dict[str, Any]) -> dict[str, Any]:
        hidden = {"asked", "number", "size", "late"}
        if batch.get("late"):
            hidden |= {"output_file_id", "error_file_id"}
        word = self.waiting if batch["status"] == "in_progress" else batch["status"]
        return {name: value for name, value in batch.items() if name not in hidden} | {"status": word}

    def _go_on(self, batch: dict[str, Any]) -> None:
        lines = self.files[batch["input_file_id"]][1].splitlines()
        if batch["status"] == "validating":
            under_way = sum(one["size"] for one in self.batches.values() if one["status"] == "in_progress")
            if errors := self.refuse.get(batch["number"]):
                batch |= {"status": "failed", "errors": {"object": "list", "data": errors}}
                return
            if under_way + len(lines) > self.most_enqueued:
                limit = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached", "line": None}
                batch |= {"status": "failed", "errors": {"object": "list", "data": [limit]}}
                return
            batch |= {"status": "in_progress", "size": len(lines), "late": self.late_files}
        if batch["status"] == "cancelling" or batch["asked"] >= self.polls:
            self._end(batch, lines)

    def _end(self, batch: dict[str, Any], lines: list[bytes]) -> None:
        number, output, errors = batch["number"], list[bytes](), list[bytes]()
        most = len(lines) // 2 if batch["status"] == "cancelling" else self.expire.get(number, len(lines))
        for place, line in enumerate(lines):
            row = json.loads(line)
            if place >= most:
                code = "batch_cancelled" if batch["status"] == "cancelling" else "batch_expired"
                record = {"custom_id": row["custom_id"], "response": None, "error": {"code": code, "message": "late"}}
                errors.append(json.dumps(record).encode())
                continue
            content, status = self.answer(row["body"])
            if status == 200:
                self.processed[row["body"]["model"], row["body"]["messages"][-1]["content"]] += 1
            result = {"status_code": status, "request_id": "r", "body": reply_to(row["body"], content, status)}
            record = {"id": f"line-{place}", "custom_id": row["custom_id"], "response": result, "error": None}
            (output if status == 200 else errors).append(json.dumps(record).encode())
        if number in self.drop_lines:
            output = output[::2]
        self._random.shuffle(output)
        word = "cancelled" if batch["status"] == "cancelling" else "expired" if number in self.expire else "completed"
        batch |= {"status": word, "request_counts": {"completed": len(output), "failed": len(errors)}}
        for name, rows in (("output_file_id", output), ("error_file_id", errors)):
            if rows:
                end = b"\r\n" if self.odd_lines else b"\n"
                content = (codecs.BOM_UTF8 if self.odd_lines else b"") + end.join(rows) + end
                batch[name] = self._new_file(f"{name}.jsonl", content)

    async def _chat(self, request: web.Request) -> web.Response:
        self.asked_at_once += 1
        if self.only_batches:
            message = "The chatCompletion operation does not work with the specified model, gpt-4o."
            return web.json_response({"error": {"code": "OperationNotSupported", "message": message}}, status=400)
        body = await request.json()
        content, status = self.answer(body)
        if status == 200:
            self.processed_at_once[body["model"], body["messages"][-1]["content"]] += 1
        return web.json_response(reply_to(body, content, status), status=status)


def reply_to(body: dict[str, Any], content: object, status: int) -> dict[str, Any]:
    """Return the body of a reply: ten tokens in, five out."""
    if status != 200:
        return {"error": content}
    return {
        "id": "c",
        "object": "chat.completion",
        "model": body["model"],
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status)

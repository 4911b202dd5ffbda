"""Prompts and answers in S3, against MiniStack, an emulator of AWS by others."""

import json
from pathlib import Path
from typing import Any

import pytest

from moa.batch import arun
from moa.errors import UsageError
from tests.batch.test_batch import MIXTURE, Model
from tests.support.ministack import s3

__all__ = ["s3"]  # a fixture

pytestmark = pytest.mark.slow


async def test_prompts_come_from_s3_and_answers_go_there(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = b"".join(json.dumps({"prompt": f"p{number}"}).encode() + b"\n" for number in range(5))
    s3.put_object(Bucket="prompts", Key="in/rows.jsonl", Body=rows)
    async with Model().engine() as engine:
        result = await arun("s3://prompts/in/rows.jsonl", MIXTURE, "s3://prompts/out/answers.jsonl", engine=engine)
        with pytest.raises(UsageError, match=r"s3://prompts/absent\.jsonl"):
            await arun("s3://prompts/absent.jsonl", MIXTURE, "s3://prompts/out/other.jsonl", engine=engine)

    body = s3.get_object(Bucket="prompts", Key="out/answers.jsonl")["Body"].read()
    assert [json.loads(line)["answer"] for line in body.splitlines()] == [f"re: p{number}" for number in range(5)]
    assert result.answers == "s3://prompts/out/answers.jsonl"
    assert (tmp_path / "answers.jsonl.journal").exists()

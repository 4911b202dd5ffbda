"""Prompts and answers in S3, against MiniStack, an emulator of AWS by others."""

import json
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from moa.batch import arun
from moa.errors import UsageError
from tests.batch.test_batch import MIXTURE, Model
from tests.support.ministack import ministack

pytestmark = pytest.mark.slow


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[object]:
    """A client of an emulator that botocore's own environment variables point to."""
    with ministack() as url:
        monkeypatch.chdir(tmp_path)
        for name, value in {
            "AWS_ENDPOINT_URL_S3": url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=url)
        client.create_bucket(Bucket="prompts")
        yield client
        client.close()


async def test_prompts_come_from_s3_and_answers_go_there(s3: object, tmp_path: Path) -> None:
    rows = b"".join(json.dumps({"prompt": f"p{number}"}).encode() + b"\n" for number in range(5))
    s3.put_object(Bucket="prompts", Key="in/rows.jsonl", Body=rows)  # type: ignore[attr-defined]
    async with Model().engine() as engine:
        result = await arun("s3://prompts/in/rows.jsonl", MIXTURE, "s3://prompts/out/answers.jsonl", engine=engine)
        with pytest.raises(UsageError, match=r"s3://prompts/absent\.jsonl"):
            await arun("s3://prompts/absent.jsonl", MIXTURE, "s3://prompts/out/other.jsonl", engine=engine)

    body = s3.get_object(Bucket="prompts", Key="out/answers.jsonl")["Body"].read()  # type: ignore[attr-defined]
    assert [json.loads(line)["answer"] for line in body.splitlines()] == [f"re: p{number}" for number in range(5)]
    assert result.answers == "s3://prompts/out/answers.jsonl"
    assert (tmp_path / "answers.jsonl.journal").exists()

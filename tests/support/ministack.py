"""MiniStack, an emulator of AWS by others, in a process of its own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.request import urlopen

import boto3
import pytest


@contextmanager
def ministack() -> Iterator[str]:
    """Give its address on loopback while it runs."""
    command = [sys.executable, "-m", "hypercorn", "ministack.app:app", "--bind", "127.0.0.1:0"]
    # In a group of its own: hypercorn serves from a child, which outlives it if it alone is killed.
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, text=True, start_new_session=True, **pipes) as process:
        try:
            assert process.stdout is not None
            yield next(found[0] for line in process.stdout if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def s3(ministack_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of its S3, which botocore finds by its own variables; two buckets are there, `jobs` and `prompts`."""
    urlopen(f"{ministack_url}/_ministack/reset", data=b"").close()
    for name, value in {
        "AWS_ENDPOINT_URL_S3": ministack_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    with closing(boto3.client("s3", endpoint_url=ministack_url)) as client:
        for bucket in ("jobs", "prompts"):
            client.create_bucket(Bucket=bucket)
        yield client

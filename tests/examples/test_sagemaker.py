"""The SageMaker job and its launcher, as plain processes: MiniStack has the files, scripted models answer."""

import asyncio
import json
import os
import re
import runpy
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import yaml
from botocore.validate import ParamValidator

from tests.support.bedrock_server import CREDENTIALS, REGION, Says
from tests.support.bedrock_thread import bedrock_in_thread
from tests.support.ministack import s3

__all__ = ["s3"]  # a fixture

FOLDER = Path(__file__).parents[2] / "examples" / "sagemaker"
JOB = runpy.run_path(str(FOLDER / "processing.py"), run_name="job")
LAUNCHER = runpy.run_path(str(FOLDER / "launch.py"), run_name="launcher")

CONFIG = """
endpoints:
  fake:
    kind: scripted
    options:
      replies: {small: an answer, agg: a better answer, big: the best answer, judge: '{"verdict": "tie"}'}
    prices: {judge: {input: 0, output: 0}, "*": {input: 0, output: 1000}}
"""
MIXTURE: dict[str, Any] = {
    "name": "pair",
    "layers": [{"proposers": [{"model": "fake/small", "max_tokens": 8}]}],
    "aggregator": {"model": "fake/agg", "max_tokens": 8},
}
ASKED = [
    "--mixture",
    "pair.yaml",
    "--baseline",
    "fake/big",
    "--baseline-max-tokens",
    "8",
    "--judge-model",
    "fake/judge",
]
STEPS = re.compile(r"(\d+) of \1 steps, 0 failed")


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """The input folder."""
    folder = tmp_path / "input"
    folder.mkdir()
    (folder / "moa.yaml").write_text(CONFIG)
    (folder / "pair.yaml").write_text(json.dumps(MIXTURE))
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"Question {n}?"}) + "\n" for n in range(3)))
    return folder


def _job(given: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    folders = ["--input-dir", str(given), "--output-dir", str(out)]
    command = [sys.executable, str(FOLDER / "processing.py"), *folders, *ASKED, *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=dict(os.environ))


def _replies(out: Path) -> dict[str, str]:
    with closing(sqlite3.connect(out / "run" / "replies.sqlite")) as store:
        return dict(store.execute("SELECT key, entry FROM replies"))


def _here(given: Path, out: Path, capsys: pytest.CaptureFixture[str], *more: str, s3: str | None = None) -> str:
    """The log of a job that runs in this process, which is faster."""
    with JOB["kept_in_s3"](out, s3):
        JOB["run"](JOB["parsed"](["--input-dir", str(given), "--output-dir", str(out), *ASKED, *more]))
    return capsys.readouterr().out


@pytest.mark.slow
def test_a_job_whose_budget_ended_is_resumed_from_s3_on_another_machine_and_buys_nothing_twice(
    given: Path, tmp_path: Path, s3: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    first = _here(given, tmp_path / "one", capsys, "--budget-usd", "0.05", "--concurrency", "1", s3="s3://jobs/first")
    second = _job(given, tmp_path / "two", "--budget-usd", "5000", "--s3", "s3://jobs/first")
    whole = _here(given, tmp_path / "three", capsys, "--budget-usd", "5000")

    assert "budget\n" in first
    assert second.returncode == 0, second.stderr
    assert "Undecided" in second.stdout
    assert STEPS.findall(first) == []
    assert STEPS.findall(second.stdout)[-1] == STEPS.findall(whole)[-1]
    replies = [_replies(tmp_path / name) for name in ("one", "two", "three")]
    assert 0 < len(replies[0]) < len(replies[1])
    # An entry has the time of its call: the same one means that it was not bought again.
    assert replies[0].items() <= replies[1].items()
    assert replies[1].keys() == replies[2].keys()
    keys = {item["Key"] for item in s3.list_objects_v2(Bucket="jobs", Prefix="first/")["Contents"]}
    assert {"first/run/report.html", "first/run/cells.sqlite", "first/run/manifest.json"} <= keys
    assert not [key for key in keys if key.endswith(("-wal", "-shm"))]


@pytest.mark.slow
def test_what_the_launcher_uploads_is_what_the_job_finds(given: Path, tmp_path: Path, s3: Any) -> None:
    wanted = _wanted(given, "s3://jobs/moa")
    LAUNCHER["upload"](wanted, s3)

    JOB["fetch"](tmp_path / "opt", s3, "jobs", "moa/")

    found = {path.relative_to(tmp_path / "opt").as_posix() for path in (tmp_path / "opt").rglob("*") if path.is_file()}
    assert found == {"code/processing.py", "input/moa.yaml", "input/pair.yaml", "input/prompts.jsonl"}


def _wanted(given: Path, address: str) -> Any:
    names = {"input_dir": given, "s3": address, "image": "1.dkr.ecr.us-east-1.amazonaws.com/moa:1", "name": "moa-1"}
    more = {"role": "arn:aws:iam::123456789012:role/r", "region": "us-east-1", "instance_type": "ml.t3.medium"}
    return type("Arguments", (), {**names, **more, "hours": 6.0, "script": ["--mixture", "bedrock-current"]})()


def test_the_launchers_request_is_one_by_botocores_model(
    given: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = re.search(r"python launch\.py (.*?)\n\n", LAUNCHER["__doc__"], re.S)
    assert command is not None
    words = [word for word in command[1].replace("evaluation", str(given)).split() if word != "\\"]

    assert LAUNCHER["main"](["--dry-run", *words]) == 0

    request = json.loads(capsys.readouterr().out)
    model = botocore.session.get_session().get_service_model("sagemaker").operation_model("CreateProcessingJob")
    assert not ParamValidator().validate(request, model.input_shape).has_errors()
    script = JOB["parsed"](request["AppSpecification"]["ContainerArguments"])
    assert (script.mixture, script.budget_usd) == ("bedrock-current", 20.0)
    assert script.s3 == "s3://my-bucket/moa/first/output"
    places = {one["InputName"]: one["S3Input"]["LocalPath"] for one in request["ProcessingInputs"]}
    assert places["input"] == str(script.input_dir)
    assert request["AppSpecification"]["ContainerEntrypoint"][1].startswith(places["code"])


def test_a_database_is_saved_as_of_one_moment_while_it_is_written_to(tmp_path: Path) -> None:
    saved: dict[str, bytes] = {}

    class Client:
        def put_object(self, *, Bucket: str, Key: str, Body: Any) -> None:
            saved[Key] = Body.read()

    with closing(sqlite3.connect(tmp_path / "cells.sqlite")) as open_one:
        open_one.execute("PRAGMA journal_mode=WAL")
        open_one.execute("CREATE TABLE t (n)")
        open_one.execute("INSERT INTO t VALUES (1)")
        open_one.commit()
        open_one.execute("INSERT INTO t VALUES (2)")
        JOB["save"](tmp_path, Client(), "bucket", "x/")

    copy = tmp_path / "copy"
    copy.write_bytes(saved["x/cells.sqlite"])
    with closing(sqlite3.connect(copy)) as read:
        assert read.execute("SELECT n FROM t").fetchall() == [(1,)]
    assert set(saved) == {"x/cells.sqlite"}


def test_a_job_without_prompts_says_which_files_it_looked_for(
    given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (given / "prompts.jsonl").unlink()

    code = JOB["main"](["--input-dir", str(given), "--output-dir", str(tmp_path / "out"), *ASKED])

    assert code == 1
    assert "give prompts.jsonl, prompts.json, prompts.csv, prompts.parquet" in capsys.readouterr().err


def test_an_address_that_is_none_is_refused_before_anything_is_asked(
    given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ["--input-dir", str(given), "--output-dir", str(tmp_path / "out")]

    assert JOB["main"]([*folders, *ASKED, "--s3", "bucket/prefix"]) == 1
    assert "expected s3://BUCKET/PREFIX" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_of_the_docstring_runs_on_bedrock_with_aws_credentials_alone(
    given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = re.search(r"python processing\.py (.*)", JOB["__doc__"])
    assert command is not None
    for name, value in zip(("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"), CREDENTIALS[:3], strict=True):
        monkeypatch.setenv(f"AWS_{name}", str(value))
    folders = ["--input-dir", str(given), "--output-dir", str(tmp_path / "out")]

    with bedrock_in_thread(lambda model: Says('{"reason": "-", "verdict": "tie"}')) as server:
        config = {"endpoints": {"bedrock": {"endpoint_url": server.url, "region": REGION}}}
        (given / "moa.yaml").write_text(json.dumps(config))
        JOB["run"](JOB["parsed"]([*folders, *command[1].split()]))

    assert STEPS.search(capsys.readouterr().out)
    assert "us.moonshotai.kimi-k3" in {seen.model for seen in server.seen}


@pytest.mark.slow
def test_a_job_that_is_stopped_saves_what_it_has_and_ends(
    given: Path, tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # SageMaker sends SIGTERM and kills after two minutes: aws-samples/amazon-sagemaker-managed-spot-training #3
    (given / "pair.yaml").write_text(json.dumps({"name": "pair", "layers": [], "aggregator": {"model": "aws/hangs"}}))
    for name, value in zip(("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"), CREDENTIALS[:3], strict=True):
        monkeypatch.setenv(f"AWS_{name}", str(value))

    def answer(model: str) -> Says:
        return Says("never ", "whole", hold=asyncio.Event())

    with bedrock_in_thread(answer) as server:
        endpoint = {"kind": "bedrock", "endpoint_url": server.url, "region": REGION}
        (given / "moa.yaml").write_text(CONFIG + f"  aws: {json.dumps(endpoint)}\n")
        folders = ["--input-dir", str(given), "--output-dir", str(tmp_path / "out"), "--s3", "s3://jobs/stopped"]
        command = [sys.executable, str(FOLDER / "processing.py"), *folders, *ASKED]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=60)

    assert "steps" in line
    assert (process.returncode, told.splitlines()[-1:]) == (130, ["stopped: the same job continues"])
    keys = {item["Key"] for item in s3.list_objects_v2(Bucket="jobs", Prefix="stopped/")["Contents"]}
    assert "stopped/run/cells.sqlite" in keys


def test_compose_passes_what_bedrock_needs_on_and_the_image_gets_no_more_than_the_package() -> None:
    root = FOLDER.parents[1]
    service = yaml.safe_load((root / "examples/server/compose.yaml").read_text())["services"]["moa"]
    ignored = (root / ".dockerignore").read_text().splitlines()

    names = (
        "AWS_REGION",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_BEARER_TOKEN_BEDROCK",
    )
    assert {name: service["environment"].get(name, "missing") for name in names} == dict.fromkeys(names)
    assert "*" in ignored
    for dockerfile in (root / "examples").rglob("Dockerfile"):
        copied = {
            word for line in re.findall(r"^COPY (.*) \S+$", dockerfile.read_text(), re.M) for word in line.split()
        }
        assert {f"!{name}" for name in copied} <= set(ignored)

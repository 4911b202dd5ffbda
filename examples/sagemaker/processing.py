r"""Measure a mixture as an Amazon SageMaker Processing job, or as any other job in a container.

The input folder holds the prompts (`prompts.jsonl`, `.json`, `.csv` or `.parquet`) and maybe a `moa.yaml` and mixture
files; the output folder gets the run with its report. With `--s3`, the run is also kept there: what is in that place is
fetched first, and everything is written back every minute, when the job is stopped, and at the end. A job that finds
an unfinished run resumes it, and buys nothing twice, except for what the last minute had bought if it was killed.

    python processing.py --mixture bedrock-current --baseline bedrock/us.anthropic.claude-opus-5-5 --budget-usd 20

It needs `mixture-of-agents[bedrock,eval]` (see the Dockerfile beside it), and a role with
`examples/bedrock-policy.json` for the models of mixture, baseline and judge. `launch.py` starts it on SageMaker.
Without `--judge-model`, a model of a maker that is on neither side judges, at an endpoint of the mixture's.
"""

import argparse
import signal
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from moa.errors import MoaError, UsageError
from moa.evaluation import Progress, evaluate, write_report

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
REPORT_EVERY = 50
"""Answers and verdicts between two lines of the job's log."""

SAVE_EVERY_S = 60.0
NOT_SAVED = (".lock", ".tmp", ".unfinished", "-shm", "-wal")


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 if the report is written, 1 if the evaluation can't be done, 130 if it was stopped."""
    arguments = parsed(argv)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        with kept_in_s3(arguments.output_dir, arguments.s3):
            run(arguments)
    except MoaError as error:
        sys.stderr.write(f"{error.code}: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("stopped: the same job continues\n")
        return 130
    return 0


def interrupt(*_: object) -> None:
    """End like Ctrl-C: SageMaker gives a job that it stops two minutes after SIGTERM.

    Raises:
        KeyboardInterrupt: Always.
    """
    raise KeyboardInterrupt


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return what the job was asked for; folders are SageMaker's unless given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input-dir", type=Path, default=Path("/opt/ml/processing/input"))
    parser.add_argument("--output-dir", type=Path, default=Path("/opt/ml/processing/output"))
    parser.add_argument("--s3", metavar="s3://BUCKET/PREFIX", help="where the run is kept, to resume it")
    parser.add_argument("--mixture", required=True, help="a preset, or a file in the input folder")
    parser.add_argument("--baseline", required=True, help="a model reference, a preset, or a file in the input folder")
    parser.add_argument("--baseline-max-tokens", type=int, default=2048, help="of a baseline that is a model")
    parser.add_argument("--judge-model", help="a model of another maker than both sides")
    parser.add_argument("--budget-usd", type=float, help="US dollars for the whole run")
    parser.add_argument("--sample", type=int, help="only so many prompts, drawn by category")
    parser.add_argument("--until", choices=("all", "decided", "good-enough"), default="all")
    parser.add_argument("--concurrency", type=int, default=32)
    return parser.parse_args(argv)


def run(arguments: argparse.Namespace) -> None:
    """Evaluate and write the report.

    Raises:
        MoaError: It can't be done; it says what and why.
    """
    folder, config = arguments.input_dir, arguments.input_dir / "moa.yaml"
    mixture, baseline = (given_in(folder, name) for name in (arguments.mixture, arguments.baseline))
    is_model = isinstance(baseline, str) and "/" in baseline
    out = arguments.output_dir / "run"
    done = evaluate(
        prompts_in(folder),
        mixture,
        out=out,
        on_progress=report,
        baseline=baseline,
        baseline_max_tokens=arguments.baseline_max_tokens if is_model else None,
        judge="pairwise",
        judge_model=arguments.judge_model,
        budget_usd=arguments.budget_usd,
        sample=arguments.sample,
        until=arguments.until,
        concurrency=arguments.concurrency,
        config=config if config.is_file() else None,
    )
    sys.stdout.write(f"{done.ended}\n{write_report(out).summary.conclusion.sentence}\n")


def given_in(folder: Path, name: str) -> str | Path:
    """Return the file of this name in the folder, or the name if there is none."""
    return folder / name if (folder / name).is_file() else name


def prompts_in(folder: Path) -> Path:
    """Return the file of prompts.

    Raises:
        UsageError: There is none.
    """
    for suffix in SUFFIXES:
        if (path := folder / f"prompts{suffix}").is_file():
            return path
    raise UsageError(f"no prompts in {folder}: give prompts{', prompts'.join(SUFFIXES)}")


def report(progress: Progress) -> None:
    """Write how far it is into the job's log, now and then."""
    done, total = progress.answers + progress.verdicts, progress.answers_total + progress.verdicts_total
    if done % REPORT_EVERY == 0 or done == total:
        left = "" if progress.left_s is None else f", about {progress.left_s / 60:.0f} min left"
        sys.stdout.write(f"{done} of {total} steps, {progress.failed} failed, ${progress.spent_usd:.2f}{left}\n")
        sys.stdout.flush()


@contextmanager
def kept_in_s3(folder: Path, address: str | None, save_every_s: float = SAVE_EVERY_S) -> Iterator[None]:
    """Fetch what S3 has of a folder; write it back now and then, and however the block ends.

    Raises:
        UsageError: The address is none, or the place can't be used.
    """
    if address is None:
        yield
        return
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    if not address.startswith("s3://") or not bucket:
        raise UsageError(f"--s3 {address}: expected s3://BUCKET/PREFIX")
    # Imported here: a job whose files stay where they are needs no AWS.
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
    from botocore.session import get_session  # type: ignore[import-untyped]

    with closing(get_session().create_client("s3")) as client:
        place = (client, bucket, f"{prefix.rstrip('/')}/" if prefix else "")
        try:
            fetch(folder, *place)
            save(folder, *place)  # shows now, and not after the first minute, whether it may be written
        except (BotoCoreError, ClientError) as error:
            raise UsageError(f"--s3 {address}: {error}") from error
        ended = threading.Event()

        def save_now_and_then() -> None:
            while not ended.wait(save_every_s):
                try:
                    save(folder, *place)
                except (BotoCoreError, ClientError, OSError, sqlite3.Error) as error:
                    sys.stderr.write(f"not saved, trying again in {save_every_s:g} s: {error}\n")

        saver = threading.Thread(target=save_now_and_then, daemon=True)
        saver.start()
        try:
            yield
        finally:
            ended.set()
            saver.join()
            save(folder, *place)


def fetch(folder: Path, client: Any, bucket: str, prefix: str) -> None:
    """Write the objects under a prefix into a folder."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", ()):
            path = (folder / item["Key"].removeprefix(prefix)).resolve()
            if item["Key"].endswith("/") or not path.is_relative_to(folder.resolve()):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read())


def save(folder: Path, client: Any, bucket: str, prefix: str) -> None:
    """Write a folder's files under a prefix; a database as of one moment, also while it is written to."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(NOT_SAVED)):
        key = prefix + path.relative_to(folder).as_posix()
        with (
            suppress(FileNotFoundError),
            tempfile.NamedTemporaryFile() as copy,
        ):  # it may have got another name meanwhile
            if path.suffix == ".sqlite":
                with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy.name)) as target:
                    source.backup(target)
            with open(copy.name if path.suffix == ".sqlite" else path, "rb") as file:
                client.put_object(Bucket=bucket, Key=key, Body=file)


if __name__ == "__main__":
    sys.exit(main())

"""Remote files, `s3://BUCKET/KEY`, by botocore, with credentials and region from AWS's default chain."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moa.errors import MissingDependency, UsageError


def is_remote(name: str) -> bool:
    """Return whether a name is the address of an object in S3."""
    return name.startswith("s3://")


def beside(answers: str, ending: str) -> Path:
    """Return the path beside the answers with their name and this ending; of answers in S3, in the working folder."""
    path = Path(answers.rpartition("/")[2]) if is_remote(answers) else Path(answers)
    return path.with_name(f"{path.name}{ending}")


@contextmanager
def fetched(name: str) -> Iterator[Path]:
    """Yield a local path: the file itself, or a temporary copy.

    Raises:
        UsageError: The file doesn't exist, or can't be downloaded.
    """
    if not is_remote(name):
        path = Path(name).expanduser()
        if not path.is_file():
            raise UsageError(f"{name}: no such file")
        yield path
        return
    bucket, key = _parts(name)
    with tempfile.TemporaryDirectory(prefix="moa-") as folder:
        path = Path(folder) / key.rpartition("/")[2]
        with _translated_errors(name):
            body = _client().get_object(Bucket=bucket, Key=key)["Body"]
            with path.open("wb") as file:
                for piece in body.iter_chunks(1 << 20):
                    file.write(piece)
        yield path


def upload(path: Path, name: str) -> None:
    """Upload a file to S3.

    Raises:
        UsageError: The upload failed; the local file is unchanged.
    """
    bucket, key = _parts(name)
    with _translated_errors(f"{name}: {path} contains the answers, but"), path.open("rb") as file:
        _client().put_object(Bucket=bucket, Key=key, Body=file)


def _parts(name: str) -> tuple[str, str]:
    bucket, _, key = name.removeprefix("s3://").partition("/")
    if not bucket or not key or key.endswith("/"):
        raise UsageError(f"{name}: expected s3://BUCKET/KEY")
    return bucket, key


def _client() -> Any:
    try:
        from botocore.session import get_session  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingDependency.of("s3://", extra="bedrock") from error
    return get_session().create_client("s3")


@contextmanager
def _translated_errors(name: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

    try:
        yield
    except (BotoCoreError, ClientError, OSError) as error:
        raise UsageError(f"{name}: {error}") from error

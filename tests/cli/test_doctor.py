import subprocess
import sys
from pathlib import Path

import pytest

from moa._policies.profile_store import Lesson, ProfileStore
from moa.errors import Rejection
from tests.cli.moa_command import moa


@pytest.mark.usefixtures("folder")
def test_doctor_shows_each_endpoint_and_the_command_that_fixes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    monkeypatch.setenv("MISTRAL_API_KEY", "secret-of-mine")

    ended = moa("doctor", "--offline", "-m", "pair.yaml")

    lines = {line.split()[1]: " ".join(line.split()[2:]) for line in ended.out.splitlines() if len(line.split()) > 2}
    assert ended.code == 0
    assert lines["groq"] == "no key its key is missing: export GROQ_API_KEY=..."
    assert lines["mistral"] == "ready MISTRAL_API_KEY is set, not contacted"
    assert lines["demo"] == "ready kind scripted"
    assert "The mixture pair can run." in ended.err
    assert "secret-of-mine" not in ended.out + ended.err


def test_doctor_exits_with_1_and_the_reason_if_the_mixture_cannot_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    (folder / "hosted.yaml").write_text("layers: []\naggregator: {model: groq/some-model}\n")

    ended = moa("doctor", "--offline", "-m", "hosted.yaml")

    assert ended.code == 1
    assert "The mixture hosted can't run:\n  groq/some-model: its key is missing: export GROQ_API_KEY=..." in ended.err


def test_doctor_lists_what_services_refuse_and_forgets_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    lesson = Lesson(
        endpoint="lab https://lab.test",
        model="thinker",
        rejection=Rejection("top_p", beside="temperature"),
        learnt_at=0.0,
        message="cannot both be specified",
    )
    ProfileStore(folder / "moa" / "profiles.sqlite").learn(lesson)

    told = " ".join(moa("doctor", "--offline", "-m", "pair.yaml").out.split())
    forgotten = moa("doctor", "--offline", "--forget", "-m", "pair.yaml")

    assert "lab/thinker: top_p beside temperature, since 1970-01-01: cannot both" in told
    assert "forgot 1 refusals" in forgotten.err
    assert "thinker" not in forgotten.out


def test_doctor_says_which_package_is_missing_also_where_it_looks_for_models_that_are_retired(tmp_path: Path) -> None:
    script = (
        "import importlib.util as util\n"
        "found = util.find_spec\n"
        "util.find_spec = lambda name, package=None: None if name == 'botocore' else found(name, package)\n"
        "import sys\n"
        "sys.modules['botocore'] = None\n"
        "from moa._cli.main import main\n"
        "main(['doctor', '-m', 'bedrock-current'])\n"
    )
    kept = {"XDG_CACHE_HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, env=kept)

    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert 'pip install "mixture-of-agents[bedrock]"' in " ".join(ended.stderr.split())

"""A run directory of the first format, as an earlier version of this program wrote it, is still read."""

import shutil
from pathlib import Path

import pytest

from moa.errors import UsageError
from moa.evaluation._analysis.load_run import collect
from moa.evaluation._reporting import write_report
from moa.evaluation._runner.run_directory import RunDirectory
from tests.support.evaluations import PROMPTS, asked, evaluated, judged, models

OLD = Path(__file__).parent / "format_1"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "run"))


@pytest.mark.slow
def test_its_report_is_written_from_its_files(run: Path) -> None:
    summary = write_report(run).summary

    names = ["test", "test.aggregator", "test.member.one", "test.member.two", "fake/big"]
    assert [system.name for system in summary.systems] == names
    assert summary.opponent == "fake/big"
    mixture = summary.systems[0]
    assert mixture.metrics is not None
    assert (mixture.metrics.counts.win_rate, mixture.metrics.counts.n_total) == (50.0, 3)
    assert mixture.economics is not None
    assert [place[1] for place in mixture.economics.by_place] == ["one", "two", "aggregator"]
    assert mixture.economics.critical_share.keys() >= {"aggregator"}


def test_its_answers_and_how_they_came_about_are_typed_values(run: Path) -> None:
    with collect(RunDirectory(run)).reading() as texts:
        trace, answer = texts.trace("test", 0), texts.records(("test",), 0)["test"]

    assert [proposal.text for proposal in trace.layers[0].roster] == ["answer of one", "answer of two"]
    assert [call.agent for call in trace.calls] == ["one", "two", "aggregator"]
    assert answer.output == "answer of agg"


async def test_it_is_not_gone_on_with(run: Path) -> None:
    provider = models()

    with pytest.raises(UsageError, match="another version of this program"):
        await evaluated(run, provider, prompts=PROMPTS[:3], **judged())

    assert asked(provider) == {}

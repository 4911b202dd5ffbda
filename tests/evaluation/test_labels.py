"""Labelling from end to end: in the terminal, on the page, from a table; and what the labels say."""

import csv
import re
import socket
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from moa._cli.handlers.eval_label import label
from moa._config.settings import Settings
from moa.errors import EvaluationDataError, UsageError
from moa.evaluation import evaluate
from moa.evaluation._analysis.load_run import collect, table_in
from moa.evaluation._label_page import labelling_page
from moa.evaluation._runner.labels import Labels
from moa.evaluation._runner.run_directory import RunDirectory
from moa.evaluation._runner.store import CellStore
from tests.support.evaluations import judged, models, trio

HOSTILE = "<script>alert(1)</script>\x1b[2J"
PROMPTS = [f"question {number}" for number in range(12)]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    evaluate(
        PROMPTS,
        trio(),
        out=tmp_path,
        settings=Settings(endpoints={}),
        providers={"fake": models(big=f"big {HOSTILE}", judge='{"reason": "r", "verdict": "tie"}')},
        **judged(),
    )
    return tmp_path


def label_twelve(run: Path, ask: Callable[[str], str] = input) -> None:
    label(run, system=None, number=12, rater="me", seed=0, page=False, port=0, csv=None, ask=ask)


def labels_in(run: Path) -> tuple[Labels, CellStore]:
    folder = RunDirectory(run)
    store = CellStore(folder.cells)
    return Labels(table_in(folder.manifest(), store), store, "test"), store


@pytest.mark.slow
def test_pairs_are_shown_blind_in_shuffled_order_and_a_rater_goes_on_where_he_stopped(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter(["a", "?", "b", "t", "q"])
    label_twelve(run, lambda text: next(answers))
    shown = capsys.readouterr().out
    rest = iter(["a"] * 9)

    label_twelve(run, lambda text: next(rest))

    assert "\x1b[2J" not in shown
    assert "pair 3 of 12" in shown
    assert "fake/big" not in shown.split("labelled")[0]
    # The aggregator alone says the same, so what people say holds for it too.
    human, _ = collect(RunDirectory(run)).human
    assert (human.corrected.n, human.raters, human.judged) == (12, 1, 50.0)
    labels, store = labels_in(run)
    store.close()
    orders = {one.swapped for one in labels.left("somebody else", 12)}
    assert orders == {True, False}


@pytest.mark.slow
async def test_the_page_answers_only_its_own_address_and_escapes_what_it_shows(run: Path) -> None:
    labels, store = labels_in(run)
    async with labelling_page(labels, "me", 2) as page, aiohttp.ClientSession() as browser:
        url = page.address
        for headers, address in (
            ({"Host": "evil.test"}, url),
            ({"Origin": "http://evil.test"}, url),
            ({}, url.split("?")[0]),
        ):
            async with browser.get(address, headers=headers) as refused:
                assert refused.status == 403
        while not page.done.is_set():
            async with browser.get(url) as response:
                html, policy = await response.text(), response.headers["Content-Security-Policy"]
            assert "<script>alert" not in html
            assert policy.startswith("default-src 'none'")
            index = re.search(r'name="index" value="(\d+)"', html)
            if index is None:
                await page.done.wait()
                break
            form = {"index": index[1], "choice": "tie"}
            for _ in range(2):  # a double click
                async with browser.post(url, data=form, headers={"Origin": url.split("/?")[0]}) as taken:
                    assert taken.status == 200
    store.close()

    assert [label.preference for label in labels.found.values()] == [1.5, 1.5]


@pytest.mark.slow
async def test_a_page_whose_port_is_taken_says_so(run: Path) -> None:
    labels, store = labels_in(run)
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(UsageError, match="another program listens there: give another --port"),
    ):
        async with labelling_page(labels, "me", 2, port=other.getsockname()[1]):
            pass
    store.close()


@pytest.mark.slow
async def test_labels_come_from_a_table_too_and_a_bad_row_keeps_none(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    rows = [
        ("question 1", "test", "ann", "0.5"),
        ("question 2", "fake/big", "ann", "0.25"),
        ("question 2", "tie", "bob", ""),
    ]
    _write(path, rows)
    labels, store = labels_in(run)

    assert await labels.read(path, "me") == 3
    _write(path, [*rows, ("question 99", "tie", "", "")])
    with pytest.raises(EvaluationDataError, match="about no pair"):
        await labels.read(path, "me")
    _write(path, [("question 3", "perhaps", "", "")])
    with pytest.raises(EvaluationDataError, match="write 1 to 2, test, fake/big or tie"):
        await labels.read(path, "me")
    _write(path, [("question 3\r\n", "Tie", "", ""), ("question 3", "test", "", "")])
    with pytest.raises(EvaluationDataError, match="row 2: has another preference of me about the pair of row 1"):
        await labels.read(path, "me")
    path.write_text("question,preference\nquestion 3,tie\n")
    with pytest.raises(
        EvaluationDataError, match="has neither `instruction` nor `index`: its columns are `question`, "
    ):
        await labels.read(path, "me")
    store.close()

    human, _ = collect(RunDirectory(run)).human
    assert (human.raters, human.corrected.n) == (2, 2)
    assert "2 people labelled 2 pairs: test wins" in human.sentence
    assert "not corrected by labels" in human.sentence


@pytest.mark.slow
@pytest.mark.parametrize(
    "data",
    [
        '\ufeffInstruction;Preference\r\nquestion 1;1,5\r\n"question 2\r\n";2,0\r\n'.encode(),
        "INDEX\tpreference \r\n1\tTie\r\n2\t Test\r\n".encode("utf-16"),
        b'remark,"index",preference\n"two\nlines, ""quoted""",1,draw\n,2,TEST\n',
    ],
)
async def test_labels_are_read_as_spreadsheets_and_people_write_them(run: Path, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "labels.csv").write_bytes(data)
    labels, store = labels_in(run)

    assert await labels.read(tmp_path / "labels.csv", "me") == 2
    store.close()

    index = {pair.instruction: pair.index for pair in labels.pairs}
    assert (index["question 1"], index["question 2"]) == (1, 2)
    assert sorted(label.preference for label in labels.found.values()) == [1.5, 2.0]


def _write(path: Path, rows: list[tuple[str, str, str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("instruction", "preference", "rater", "probability"))
        writer.writerows(rows)


@pytest.mark.slow
def test_a_run_without_a_judge_has_nothing_to_label(tmp_path: Path) -> None:
    evaluate(PROMPTS[:1], trio(), out=tmp_path, settings=Settings(endpoints={}), providers={"fake": models()})

    with pytest.raises(UsageError, match="nothing has been judged"):
        label_twelve(tmp_path)


def test_a_run_that_an_earlier_version_wrote_says_why_it_can_not_be_labelled() -> None:
    with pytest.raises(UsageError, match="an earlier version wrote this run"):
        label_twelve(Path(__file__).parent / "format_1")

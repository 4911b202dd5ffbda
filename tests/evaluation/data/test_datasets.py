import asyncio
import bz2
import gzip
import json
import lzma
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import polars
import pytest
from aiohttp import web

from moa.errors import EvaluationDataError, UsageError
from moa.evaluation._data.datasets import digest, load_instructions
from moa.evaluation._data.huggingface import hub_file

ROWS = [
    {"prompt": "Say “hé”,\nin two lines", "category": "tone", "reference": "hé"},
    {"prompt": "What is 2, 3?", "category": "sums", "reference": None},
]


def as_json(path: Path) -> None:
    path.write_text(json.dumps(ROWS))


def as_jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-8")


def as_csv(path: Path) -> None:
    polars.DataFrame(ROWS).write_csv(path)


def as_parquet(path: Path) -> None:
    polars.DataFrame(ROWS).write_parquet(path)


@pytest.mark.parametrize(
    ("name", "write"), [("p.json", as_json), ("p.jsonl", as_jsonl), ("p.csv", as_csv), ("p.parquet", as_parquet)]
)
def test_a_file_of_every_format_gives_the_same_prompts(name: str, write, tmp_path: Path) -> None:
    write(tmp_path / name)

    first, second = load_instructions(tmp_path / name)

    assert (first.prompt, first.category, first.reference) == ("Say “hé”,\nin two lines", "tone", "hé")
    assert (second.text, second.category, second.reference, second.index) == ("What is 2, 3?", "sums", None, 1)


@pytest.mark.parametrize(
    ("name", "write"), [("p.json.gz", as_json), ("P.JSONL.GZ", as_jsonl), ("p.csv.gz", as_csv), ("p.csv", as_csv)]
)
def test_prompts_may_be_packed_by_gzip(name: str, write, tmp_path: Path) -> None:
    write(tmp_path / "plain")
    (tmp_path / name).write_bytes(gzip.compress((tmp_path / "plain").read_bytes()))

    first, second = load_instructions(tmp_path / name)

    assert (first.prompt, second.text) == ("Say “hé”,\nin two lines", "What is 2, 3?")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("p.jsonl.zst", b"\x28\xb5\x2f\xfd", "is packed by zstd: unpack it first, or pack it by gzip"),
        ("p.jsonl", b"\x28\xb5\x2f\xfd\xff", "is packed by zstd"),
        ("p.csv", bz2.compress(b"prompt\na\n"), "is packed by bzip2"),
        ("p.json", lzma.compress(b'["a"]'), "is packed by xz"),
        ("p.jsonl.gz", gzip.compress(b'"a"', mtime=0)[:-9], "can't be read: Compressed file ended"),
        ("p.jsonl.gz", gzip.compress(b"", mtime=0)[:10] + b"\xff" * 20, "can't be read: Error -3 while decompressing"),
    ],
    ids=["name", "zstd", "bzip2", "xz", "cut", "damaged"],
)
def test_prompts_that_are_packed_otherwise_or_damaged_are_refused(
    name: str, data: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)

    with pytest.raises(EvaluationDataError, match=message):
        load_instructions(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompt,reference\na,b,c\n", "row 1: more cells than the first row names columns"),
        ("prompt,prompt\na,b\n", "two columns are called 'prompt'"),
        ('prompt\na\n"b\n', "the row that begins in line"),
    ],
)
def test_a_csv_file_in_which_cells_or_rows_would_be_lost_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(text)

    with pytest.raises(EvaluationDataError, match=message):
        load_instructions(tmp_path / "p.csv")


def test_a_cell_may_be_long(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(f"prompt\n{'x' * 200_000}\n")

    (long,) = load_instructions(tmp_path / "p.csv")

    assert len(long.text) == 200_000


def test_messages_become_a_conversation_also_out_of_a_csv_cell(tmp_path: Path) -> None:
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    polars.DataFrame({"messages": [json.dumps(talk)]}).write_csv(tmp_path / "p.csv")

    (from_cell,) = load_instructions(tmp_path / "p.csv")
    (given,) = load_instructions([{"messages": talk}])

    assert [message.role for message in from_cell.prompt] == ["system", "user"]  # type: ignore[union-attr]
    assert from_cell.prompt == given.prompt
    assert given.text == "system: Be brief.\n\nuser: Hi"


def test_alpaca_eval_comes_from_a_local_copy(tmp_path: Path) -> None:
    rows = [{"instruction": "a", "dataset": "koala", "output": "x"}, {"instruction": "b", "dataset": "vicuna"}]
    (tmp_path / "alpaca_eval.json").write_text(json.dumps(rows))

    one, two = load_instructions("alpaca_eval", data_dir=tmp_path)

    assert (one.prompt, one.dataset, one.category) == ("a", "koala", "koala")
    assert two.dataset == "vicuna"


def test_starter_has_forty_different_prompts_over_ten_categories() -> None:
    prompts = load_instructions("starter")

    assert len({one.text for one in prompts}) == 40
    assert set(Counter(one.category for one in prompts).values()) == {4}


@pytest.mark.parametrize("seed", range(5))
def test_a_sample_has_every_categorys_share_and_depends_on_the_seed_alone(seed: int) -> None:
    rows = [{"prompt": f"{number}", "category": "abbbcccccc"[number % 10]} for number in range(100)]

    drawn = load_instructions(rows, sample=20, seed=seed)

    assert Counter(one.category for one in drawn) == {"a": 2, "b": 6, "c": 12}
    assert drawn == load_instructions(rows, sample=20, seed=seed)
    assert drawn != load_instructions(rows, sample=20, seed=seed + 100)
    assert [one.index for one in drawn] == sorted(one.index for one in drawn)


def test_limit_takes_the_first_and_keeps_their_index() -> None:
    prompts = load_instructions(["a", "b", "c"], limit=2)

    assert [(one.index, one.prompt) for one in prompts] == [(0, "a"), (1, "b")]


def test_digest_changes_with_any_prompt() -> None:
    assert digest(load_instructions(["a", "b"])) == digest(load_instructions(["a", "b"]))
    assert digest(load_instructions(["a", "b"])) != digest(load_instructions(["a", "c"]))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"category": "x"}], "row 1: has no prompt"),
        (["ok", 3], "row 2: expected a prompt"),
        ([{"messages": [{"role": "nobody", "content": "x"}]}], "row 1: the prompt can't be used"),
        ([], "holds no prompt"),
    ],
)
def test_rows_that_are_no_prompts_are_named(rows: list[object], message: str) -> None:
    with pytest.raises(EvaluationDataError, match=message):
        load_instructions(rows)  # type: ignore[arg-type]


def test_a_dataset_that_nobody_knows_is_refused_with_what_there_is() -> None:
    with pytest.raises(UsageError, match=r"no dataset and no file 'alpacaeval'.*starter"):
        load_instructions("alpacaeval")


class Hub:
    """What huggingface_hub needs of a hub to download a dataset's file."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        if not request.path.endswith("/alpaca_eval.json"):
            return web.Response(status=404, headers={"X-Error-Code": "EntryNotFound"})
        headers = {"ETag": '"e1"', "X-Repo-Commit": "c" * 40, "Accept-Ranges": "bytes"}
        return web.Response(body=b'[{"instruction": "from the hub"}]', headers=headers)


@pytest.fixture
async def hub() -> AsyncIterator[tuple[Hub, str]]:
    hub = Hub()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", hub.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield hub, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_hub_file_is_downloaded_once_from_the_dataset(hub: tuple[Hub, str], tmp_path: Path) -> None:
    server, url = hub
    fetch = partial(hub_file, "alpaca_eval.json", endpoint=url, cache=tmp_path)

    first = await asyncio.to_thread(fetch)

    assert json.loads(first.read_text()) == [{"instruction": "from the hub"}]
    assert server.paths[0] == "/datasets/tatsu-lab/alpaca_eval/resolve/main/alpaca_eval.json"
    assert await asyncio.to_thread(fetch) == first


async def test_hub_file_that_is_not_there_says_what_to_do(hub: tuple[Hub, str], tmp_path: Path) -> None:
    with pytest.raises(EvaluationDataError, match=r"none\.json: can't be downloaded.*--data-dir"):
        await asyncio.to_thread(partial(hub_file, "none.json", endpoint=hub[1], cache=tmp_path))

"""Files as they are: a thousand odd rows, each of which becomes an answer or a row with its cause; nothing is lost."""

import csv
import json
import math
import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars
import pytest

from moa.batch import arun
from moa.errors import UsageError
from tests.batch.test_batch import MIXTURE, Model, lines

HUGE = "x" * 300_000

GOOD: list[Callable[[int], bytes]] = [
    lambda at: json.dumps({"prompt": f"plain {at}", "id": at}).encode(),
    lambda at: b'\xef\xbb\xbf{"prompt": "with a BOM"}',
    lambda at: f'{{"prompt": "separator \u2028 {at}"}}'.encode(),
    lambda at: f'{{"prompt": "next line \x85 {at}"}}'.encode(),
    lambda at: b'{"prompt": "null \\u0000 byte", "id": "same"}',
    lambda at: b'{"prompt": "half a pair beside it", "tag": "\\ud83d"}',
    lambda at: b'{"prompt": "whole pair \\ud83d\\ude00", "id": "same"}',
    lambda at: json.dumps({"prompt": f"{HUGE if at < 100 else ''}{at}"}).encode(),
    lambda at: json.dumps({"prompt": "mixed", "value": [1, "1", [1], {"a": 1}, None, True, 1.5][at % 7]}).encode(),
    lambda at: b'{"prompt": "large", "number": 123456789012345678901234567890}',
    lambda at: b'{"instruction": "another column"}',
    lambda at: b'{"messages": [{"role": "user", "content": "a turn"}]}',
    lambda at: b'"a text alone"',
    lambda at: b'  {"prompt": "spaces around"}\t',
    lambda at: b'{"prompt": "line\\r\\nbreaks", "": "no name"}',
    lambda at: b'{"prompt": "[1, 2] begins like a list"}',
    lambda at: b'{"prompt": null, "instruction": "the next column"}',
    lambda at: b'{"prompt": "half \\ud83d"}',
]
BAD: list[Callable[[int], bytes]] = [
    lambda at: b"not json",
    lambda at: b"\x00\x00",
    lambda at: b'{"prompt": "raw \x00 byte"}',
    lambda at: b'{"prompt": "cut o',
    lambda at: b'{"prompt": "\xff latin"}',
    lambda at: b"{}",
    lambda at: b'{"text": "another name"}',
    lambda at: b'{"prompt": "   "}' if at % 2 else b'{"prompt": ""}',
    lambda at: [b'{"prompt": 5}', b'{"prompt": true}', b'{"prompt": {"a": 1}}', b'{"prompt": ["a"]}'][at % 4],
    lambda at: [b"null", b"5", b"[1]", b"true", b"[]"][at % 5],
    lambda at: b'{"prompt": "two"} {"prompt": "in a line"}',
    lambda at: b'{"prompt": "a"}\r{"prompt": "old Macs"}',
    lambda at: b"[" * 5_000,
    lambda at: b'{"messages": [{"role": "user"}]}',
    lambda at: b'{"messages": [{"role": "nobody", "content": "a"}]}',
]


def odd_file(path: Path) -> list[bool]:
    """Write a thousand rows; return which of them can be answered."""
    rng, good, written = random.Random(20), [], []
    for at in range(1000):
        good.append(at % 3 > 0)
        makers = GOOD if good[-1] else BAD
        end = rng.choice([b"\n", b"\r\n", b"\n\n", b" \n"])
        written.append(makers[at // 3 % len(makers)](at) + end)
    path.write_bytes(b"".join(written))
    return good


def answers(target: Path) -> list[dict[str, Any]]:
    if target.suffix == ".csv":
        with target.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    return polars.read_parquet(target).to_dicts() if target.suffix == ".parquet" else lines(target)


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
async def test_a_thousand_odd_rows_are_each_answered_or_have_their_cause(tmp_path: Path, ending: str) -> None:
    csv.field_size_limit(10**7)
    source, target, model = tmp_path / "in.jsonl", tmp_path / f"out.{ending}", Model()
    good = odd_file(source)
    async with model.engine() as engine:
        result = await arun(source, MIXTURE, target, engine=engine)

    found = answers(target)
    assert [row["answer_status"] == "complete" for row in found] == good
    assert (result.progress.done, result.progress.failed) == (1000, good.count(False))
    assert sum(model.asked.values()) == good.count(True)
    assert all(row["answer_error"] for row, is_good in zip(found, good, strict=True) if not is_good)
    # No column is lost, wherever it began; what the rows hold is there, as far as the format has a form for it.
    assert {"id", "tag", "value", "number", "instruction", "messages", "text", ""} <= found[
        0
    ].keys() or ending == "jsonl"
    text = str(found).replace("\\\\", "\\")
    assert "123456789012345678901234567890" in text or "1.2345678901234568e+29" in text
    assert text.count("\\ud83d") >= 2
    assert "another name" in text


TABLES = [
    ("two columns are called 'prompt'", b"prompt,prompt\na,b\n"),
    ("begins in line 3: unexpected end of data", b'prompt,x\na,1\n"never closed,2\nb,3\n'),
    ("is not in UTF-8", "prompt\nä\n".encode("latin-1")),
    ("row 2 of .* has a column 'answer'", b'{"prompt": "a"}\n{"prompt": "b", "answer": "mine"}\n'),
    ("is in UTF-16", '{"prompt": "a"}\n'.encode("utf-16")),
    ("has no column prompt or instruction or messages; it has 'ask', 'id': name .* by --column", b"ask;id\na;1\n"),
    ("it has 'text': name the one with the prompt by --column", b'{"text": "a"}\n{"text": "b"}\n'),
]


@pytest.mark.parametrize(("message", "data"), TABLES)
async def test_a_file_that_would_lose_something_is_refused_before_anything_is_bought(
    tmp_path: Path, message: str, data: bytes
) -> None:
    source, model = tmp_path / ("in.jsonl" if b"{" in data or b"{\x00" in data else "in.csv"), Model()
    source.write_bytes(data)
    async with model.engine() as engine:
        with pytest.raises(UsageError, match=message):
            await arun(source, MIXTURE, tmp_path / "out.jsonl", engine=engine)
    assert not model.asked


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfprompt;x\r\na, b;1\r\n",
        b"sep=;\r\nprompt;x\r\na, b;1\r\n",
        "prompt\tx\r\na, b\t1\r\n".encode("utf-16"),
    ],
)
async def test_a_table_may_be_separated_and_encoded_as_spreadsheets_do(tmp_path: Path, data: bytes) -> None:
    source, target, model = tmp_path / "in.csv", tmp_path / "out.csv", Model()
    source.write_bytes(data)
    async with model.engine() as engine:
        await arun(source, MIXTURE, target, engine=engine)

    (row,) = answers(target)
    assert (row["prompt"], row["x"], row["answer_status"]) == ("a, b", "1", "complete")


async def test_odd_tables_keep_every_cell(tmp_path: Path) -> None:
    source, target, model = tmp_path / "in.csv", tmp_path / "out.csv", Model()
    source.write_bytes(
        b'\xef\xbb\xbfprompt,x\r\na,1\r\nshort\r\nlong,1,2,3\r\n\r\n"q""uote\r\nline",3\r\nnull\x00,4\r\n,5\r\n'
        + "separator \u2028,6\r\n".encode()
    )
    async with model.engine() as engine:
        await arun(source, MIXTURE, target, engine=engine)

    found = answers(target)
    assert [row["x"] for row in found] == ["1", "", "1", "3", "4", "5", "6"]
    assert [row["answer_status"] for row in found] == [
        *["complete"] * 2,
        "failed",
        *["complete"] * 2,
        "failed",
        "complete",
    ]
    assert "['2', '3']" in found[2]["answer_error"]


async def test_a_table_keeps_the_types_of_its_columns(tmp_path: Path) -> None:
    source, target, model = tmp_path / "in.parquet", tmp_path / "out.parquet", Model()
    table = polars.DataFrame(
        {
            "prompt": ["a", None, "b"],
            "day": [date(2026, 1, 2), None, None],
            "at": [datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), None, None],
            "took": [timedelta(milliseconds=3), None, None],
            "price": [Decimal("1.10"), None, Decimal("-2.05")],
            "bytes": [b"\xff\x00", None, b""],
            "large": polars.Series([2**64 - 1, None, 0], dtype=polars.UInt64),
            "share": [math.nan, math.inf, None],
            "list": [[1], [], None],
            "nested": [{"x": [{"y": None}]}, None, {"x": []}],
        }
    )
    table.write_parquet(source)
    async with model.engine() as engine:
        await arun(source, MIXTURE, target, engine=engine, limit=2)

    found = polars.read_parquet(target)
    assert found.select(table.columns).equals(table.head(2))
    assert found["answer_status"].to_list() == ["complete", "failed"]


async def test_a_number_beyond_those_of_json_is_null_in_a_row_that_is_still_json(tmp_path: Path) -> None:
    source, target, model = tmp_path / "in.jsonl", tmp_path / "out.jsonl", Model()
    source.write_bytes(b'{"prompt": "a", "id": 123456789012345678901, "x": [1e400, NaN, {"y": -Infinity}]}\n')
    async with model.engine() as engine:
        await arun(source, MIXTURE, target, engine=engine)

    assert b'"id": 123456789012345678901, "x": [null, null, {"y": null}]' in target.read_bytes()


@pytest.mark.parametrize("name", ["in.jsonl.gz", "in.csv.zst"])
async def test_a_compressed_file_is_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    async with Model().engine() as engine:
        with pytest.raises(UsageError, match="decompress it first"):
            await arun(tmp_path / name, MIXTURE, tmp_path / "out.jsonl", engine=engine)

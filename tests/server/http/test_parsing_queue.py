"""How connections share the time in which what they send is parsed."""

import asyncio

import pytest

from moa._server.http.parsing_queue import HeldFlowControl, ParsingQueue


class Connection:
    """A connection with so many slices to parse."""

    def __init__(self, name: str, slices: int, log: list[str]) -> None:
        self._name, self._slices, self._log = name, slices, log

    def parse_slice(self) -> bool:
        self._log.append(self._name)
        self._slices -= 1
        return self._slices > 0


async def test_connections_take_turns_and_the_loop_goes_on_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moa._server.http.parsing_queue.PASS_S", 0.0)
    log: list[str] = []
    queue = ParsingQueue()
    long, short = Connection("long", 4, log), Connection("short", 1, log)
    queue.add(long)
    queue.add(short)
    queue.add(long)
    for _ in range(6):
        await asyncio.sleep(0)
        log.append("-")

    assert "".join(each[0] for each in log) == "l-s-l-l-l--"


async def test_as_much_is_parsed_in_one_pass_as_there_is_time_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moa._server.http.parsing_queue.PASS_S", 60.0)
    log: list[str] = []
    ParsingQueue().add(Connection("long", 100, log))
    await asyncio.sleep(0)

    assert len(log) == 100


class Transport(asyncio.Transport):
    """A transport that refuses to pause twice, as uvloop's does."""

    is_reading_paused = is_closed = False

    def pause_reading(self) -> None:
        assert not self.is_reading_paused
        self.is_reading_paused = True

    def resume_reading(self) -> None:
        assert self.is_reading_paused
        self.is_reading_paused = False

    def is_closing(self) -> bool:
        return self.is_closed


@pytest.mark.parametrize(
    ("steps", "is_paused"),
    [
        ("hold release", False),
        ("hold pause release", True),
        ("hold pause release resume", False),
        ("pause hold resume", True),
        ("pause hold resume release", False),
        ("pause hold release", True),
        ("hold hold release", False),
        ("hold pause resume", True),
    ],
)
async def test_nothing_is_read_while_either_side_has_a_reason(steps: str, is_paused: bool) -> None:
    transport = Transport()
    flow = HeldFlowControl(transport)
    for step in steps.split():
        getattr(flow, f"{step}_reading")()

    assert transport.is_reading_paused is is_paused

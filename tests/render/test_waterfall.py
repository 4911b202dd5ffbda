"""Waterfalls: for a terminal and as HTML."""

from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moa._ledger import Attempt, Call, ErrorInfo, Ledger
from moa._render.timeline import timeline
from moa._render.waterfall import WaterfallView, waterfall_html
from moa._usage import TokenUsage
from tests.render.drawing import drawn

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)> \" ' & \u202e \x1b[2J"


def _attempt(started_s: float, duration_s: float, **changes: Any) -> Attempt:
    given = {"status": "ok", "usage": TokenUsage(output_tokens=7), "usage_source": "reported"}
    return Attempt(started_s=started_s, duration_s=duration_s, **(given | changes))


def _call(number: int, agent: str, *attempts: Attempt, layer: int = 1, **changes: Any) -> Call:
    given = {"model": f"lab/{agent}", "purpose": "proposal"} | changes
    return Call(id=number, agent=agent, layer=layer, attempts=attempts, **given)


def _failed(started_s: float, duration_s: float, message: str) -> Attempt:
    error = ErrorInfo(code="rate_limited", message=message)
    return _attempt(started_s, duration_s, status="failed", usage=None, usage_source="unknown", error=error)


RUN = Ledger(
    calls=(
        _call(1, "quick", _attempt(0, 4, first_token_s=2, cost_usd=Decimal("0.001"))),
        _call(2, "flaky", _failed(0, 1, "lab/flaky: slow down"), _attempt(2, 3, queue_s=1)),
        _call(3, "kept", _attempt(0, 0.001, cached=True, cost_usd=Decimal(1))),
        _call(4, "broken", _failed(0, 2, "no")),
        _call(5, "broken", _attempt(2, 2), model="lab/spare"),
        _call(6, "aggregator", _attempt(6, 9, status="cancelled"), layer=2, purpose="answer"),
        _call(7, "aggregator", _attempt(8, 2, hedge=True), layer=2, purpose="answer"),
    )
)


def test_a_timeline_puts_an_agents_attempts_together_and_says_what_they_are() -> None:
    shown = timeline(RUN)

    assert [lane.title for lane in shown.lanes] == ["layer 1", "answer"]
    assert [bar.label for bar in shown.lanes[0].bars] == [
        "quick", "flaky", "again", "kept", "broken", "fallback lab/spare",
    ]  # fmt: skip
    assert [bar.state for bar in shown.lanes[0].bars] == ["ok", "failed", "ok", "cached", "failed", "ok"]
    assert shown.lanes[0].bars[1].problem == "slow down"
    assert shown.lanes[0].bars[0].figures == "4.0 s, 7 tokens, $0.0010"
    assert shown.lanes[0].bars[3].figures == "1 ms, 7 tokens, cached"
    assert shown.lanes[0].bars[2].figures == "4.0 s, 7 tokens, price unknown"
    assert shown.span_s == 15


@pytest.mark.parametrize(("encoding", "signs"), [("utf-8", "·▒█"), ("ascii", ".-#")])
def test_a_bar_shows_queue_first_token_and_writing_in_its_place(encoding: str, signs: str) -> None:
    queue, think, write = signs
    ledger = Ledger(
        calls=(
            _call(1, "a", _attempt(0, 8, first_token_s=4, cost_usd=Decimal("0.1"))),
            _call(2, "b", _attempt(2, 4, queue_s=2, first_token_s=2, cost_usd=Decimal("0.1"))),
        )
    )

    # 49 columns leave 16 to the bars: two for each of the eight seconds.
    lines = drawn(WaterfallView(ledger), width=49, encoding=encoding).splitlines()

    assert lines[1].startswith("  a      " + 8 * think + 8 * write + "  8.0 s")
    assert lines[2].startswith("  b      " + 4 * " " + 4 * queue + 4 * think + 4 * write + "  6.0 s")


def test_a_terminal_shows_every_problem_made_harmless() -> None:
    picture = drawn(WaterfallView(Ledger(calls=(_call(1, "a\x1b[2J", _failed(0, 1, EVIL)),))), width=200)

    assert "<script>alert(1)</script>" in picture
    assert "\x1b" not in picture
    assert "\u202e" not in picture


def test_a_run_without_calls_says_so() -> None:
    assert "no model was called" in drawn(WaterfallView(Ledger()))
    assert "no model was called" in waterfall_html(Ledger())


class _Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_nothing_in_a_ledger_becomes_markup() -> None:
    call = _call(1, EVIL, _failed(0, 1, EVIL), model=EVIL)
    html = waterfall_html(Ledger(calls=(call,)))
    page = _Tags(html)

    assert {tag for tag, _ in page.tags} == {
        "div", "style", "table", "tr", "td", "th", "span", "svg", "line", "rect", "p",
    }  # fmt: skip
    assert not any(name.startswith("on") or name in ("src", "href") for _, given in page.tags for name in given)
    assert "<script>alert(1)</script>" in page.text
    assert "\x1b" not in html
    assert "\u202e" not in html


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.floats(0, 10), st.floats(0, 100), st.none() | st.floats(0, 100)), min_size=1
    ),
    st.integers(20, 200),
)
def test_no_bar_leaves_its_place_whatever_the_times(times: list[Any], width: int) -> None:
    attempts = [
        _attempt(start, length, queue_s=queue, first_token_s=None if first is None else min(first, length))
        for start, queue, length, first in times
    ]
    ledger = Ledger(calls=tuple(_call(number, f"a{number}", one) for number, one in enumerate(attempts, 1)))

    assert max(map(len, drawn(WaterfallView(ledger), width=width).splitlines())) <= width
    for _, given_ in _Tags(waterfall_html(ledger)).tags:
        if "x" in given_:
            assert 0 <= float(given_["x"]) <= 1000
            assert 0 < float(given_["width"]) <= 1000.01

from decimal import Decimal

import pytest

from moa._ledger import Attempt, Call, Ledger
from moa._render.symbols import ASCII, UNICODE
from moa._render.totals import degraded_lines, ledger_line, totals_line
from moa._results import Answer, Degradation, Latency
from moa._usage import TokenUsage
from tests.render.drawing import attempt


def _ledger(*attempts: Attempt) -> Ledger:
    return Ledger(
        calls=tuple(
            Call(id=number, agent="a", model="lab/a", purpose="proposal", layer=1, attempts=(one,))
            for number, one in enumerate(attempts, 1)
        )
    )


def _answer(ledger: Ledger, *, first_token_s: float | None = 1.9) -> Answer:
    return Answer(
        id="run",
        mixture="test",
        status="complete",
        text="Hello",
        finish_reason="stop",
        agent="writer",
        model="lab/writer",
        ledger=ledger,
        latency=Latency(total_s=2.4, first_token_s=first_token_s, critical_path_s=2.39, overhead_s=0.01),
    )


def test_totals_line_sums_time_calls_tokens_and_money() -> None:
    answer = _answer(_ledger(attempt(output=100), attempt(output=1100)))

    line = "2.4 s · first token 1.9 s · 2 calls · 20 in + 1,200 out tokens · $0.00046"
    assert totals_line(answer, UNICODE) == line
    assert totals_line(answer, ASCII) == line.replace("·", "|")


def test_totals_line_leaves_out_what_is_unknown() -> None:
    answer = _answer(_ledger(attempt(output=1, cost_usd=None)), first_token_s=None)

    line = "2.4 s · 1 call · 10 in + 1 out tokens · price unknown for 1 call"
    assert totals_line(answer, UNICODE) == line


def test_degraded_lines_tell_each_reason_on_one_line() -> None:
    reason = Degradation(agent="slow", code="abandoned", message="slower than\nthe mixture waits")

    assert degraded_lines([reason]) == ("slow: slower than the mixture waits",)


def test_ledger_line_keeps_estimates_of_cut_off_calls_apart() -> None:
    cut = Attempt(
        status="cancelled",
        started_s=0.0,
        usage=TokenUsage(input_tokens=8, output_tokens=2),
        usage_source="estimated",
        cost_usd=Decimal("0.002"),
    )

    line = ledger_line(_ledger(attempt(output=5), cut), UNICODE)

    known, estimated = "2 calls · 10 in + 5 out tokens", "about 10 tokens in calls that were cut off"
    assert line == f"{known} · {estimated} · $0.00023 + about $0.0020 estimated"


@pytest.mark.parametrize(
    ("saved_usd", "says"), [(Decimal("0.5"), "cached 83% of input, saved $0.50"), (None, "cached 83% of input")]
)
def test_ledger_line_says_what_the_services_prompt_caches_gave(saved_usd: Decimal | None, says: str) -> None:
    used = Attempt(
        status="ok",
        started_s=0,
        usage=TokenUsage(input_tokens=1000, cached_input_tokens=830, output_tokens=5),
        usage_source="reported",
        cost_usd=Decimal(1),
        saved_usd=saved_usd,
    )

    assert says in ledger_line(_ledger(used), UNICODE).split(" · ")

from moa._ledger import Ledger
from moa._render.proposals import ProposalsView
from moa._results import Answer, Latency, LayerResult
from tests.render.drawing import drawn, failed, used


def _answer(*layers: LayerResult) -> Answer:
    return Answer(
        id="run",
        mixture="test",
        status="complete",
        text="Hello",
        finish_reason="stop",
        agent="writer",
        model="lab/writer",
        ledger=Ledger(),
        latency=Latency(total_s=1.0, first_token_s=None, critical_path_s=1.0, overhead_s=0.0),
        layers=layers,
    )


def test_proposals_picture_shows_each_proposal_whole_and_harmless_or_why_there_is_none() -> None:
    roster = (used("one", 0, text="First [bold]line\n\x1b[2Jsecond"), failed("two", 1, "too many requests"))
    layer = LayerResult(number=1, roster=roster, closed_by="all", started_s=0.0, duration_s=1.3)

    assert drawn(ProposalsView(_answer(layer)), width=40).splitlines() == [
        "layer 1 · one · used 1.2 s ─────────────",
        "First [bold]line",
        "␛[2Jsecond",
        "",
        "layer 1 · two · failed 340 ms ──────────",
        "too many requests",
    ]


def test_proposals_picture_says_so_when_there_are_none() -> None:
    assert drawn(ProposalsView(_answer())) == "this answer has no proposals: a single model was asked"

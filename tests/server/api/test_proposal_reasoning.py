"""Proposals told as one text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moa._ledger import ErrorInfo
from moa._results import Proposal
from moa._server.api.proposal_reasoning import ProposalReasoning
from moa.events import AnswerDelta, Event, ProposalDelta, ProposalFinished, ProposalRestarted


def _piece(index: int, text: str) -> ProposalDelta:
    return ProposalDelta(1, index, text)


def _end(index: int, text: str = "", error: str | None = None) -> ProposalFinished:
    failed = ErrorInfo(code=error, message="secret detail") if error else None
    return ProposalFinished(
        proposal=Proposal(
            agent=f"agent-{index}",
            model="lab/x",
            layer=1,
            index=index,
            status="failed" if failed else "used",
            text=text,
            error=failed,
        )
    )


def _told(*events: Event) -> list[str]:
    proposals = ProposalReasoning()
    return [proposals.add(event) for event in events]


def test_who_writes_first_is_told_as_it_is_written_and_the_others_follow_in_one_piece() -> None:
    told = _told(_piece(1, "a"), _piece(0, "X"), _piece(1, "b"), _end(1, "ab"), _piece(0, "Y"), _end(0, "XY"))

    assert told == [
        "Proposal 1\n\na",
        "",
        "b",
        "\n\n(by agent-1)\n\nProposal 2\n\nX",
        "Y",
        "\n\n(by agent-0)\n\n",
    ]


def test_a_proposal_that_begins_anew_is_told_anew() -> None:
    told = _told(_piece(0, "bad"), ProposalRestarted(layer=1, index=0), _piece(0, "good"), _end(0, "good"))

    assert told == [
        "Proposal 1\n\nbad",
        "\n\n(cut off; it starts again)\n\n",
        "Proposal 2\n\ngood",
        "\n\n(by agent-0)\n\n",
    ]


def test_what_is_void_before_it_was_told_is_never_told() -> None:
    told = _told(_piece(0, "a"), _piece(1, "void"), ProposalRestarted(layer=1, index=1), _end(0), _piece(1, "good"))

    assert "void" not in "".join(told)
    assert told[-1] == "Proposal 2\n\ngood"


def test_a_failed_proposal_is_told_by_its_code_alone() -> None:
    assert _told(_end(0, error="rate_limited")) == ["Proposal 1\n\n\n\n(agent-0: not used, rate_limited)\n\n"]


def test_neither_the_answer_nor_thoughts_of_proposers_are_told() -> None:
    assert _told(AnswerDelta("x"), ProposalDelta(1, 0, "hm", reasoning=True)) == ["", ""]


@pytest.mark.slow
@given(st.lists(st.integers(0, 3), max_size=40))
def test_every_piece_is_told_once_and_texts_are_never_mixed(order: list[int]) -> None:
    pieces: dict[int, list[str]] = {index: [] for index in order}
    events: list[Event] = []
    for number, index in enumerate(order):
        pieces[index].append(f"<{index}:{number}>")
        events.append(_piece(index, pieces[index][-1]))
    events += [_end(index) for index in pieces]

    whole = "".join(_told(*events))

    for index, own in pieces.items():
        assert "".join(own) + f"\n\n(by agent-{index})" in whole

"""Proposals as one text, for clients that can show only one: they show it as the model's reasoning."""

from moa._results import Answer, Proposal
from moa.events import Event, LayerFinished, ProposalDelta, ProposalFinished, ProposalRestarted

_Place = tuple[int, int]


class ProposalReasoning:
    """Serializes proposals that are written concurrently.

    The proposal that starts first is passed through as it is written. The others are buffered, and what they have
    written follows in one piece, so that no two texts are interleaved.
    """

    def __init__(self) -> None:
        self._buffered: dict[_Place, list[str]] = {}
        self._ended: dict[_Place, Proposal] = {}
        self._count = 0
        self._current: _Place | None = None
        self._has_begun = False

    def add(self, event: Event) -> str:
        """Return the text that an event adds, empty if none."""
        match event:
            case ProposalDelta(reasoning=False):
                self._buffered.setdefault((event.layer, event.index), []).append(event.text)
            case ProposalRestarted():
                return self._discard((event.layer, event.index))
            case ProposalFinished(proposal=proposal):
                place = (proposal.layer, proposal.index)
                self._buffered.setdefault(place, [])
                self._ended[place] = proposal
            case LayerFinished():
                pass
            case _:
                return ""
        return self._flush()

    def _discard(self, place: _Place) -> str:
        """Forget what a proposal has written before it was restarted."""
        self._buffered.pop(place, None)
        if self._current != place:
            return ""
        self._current = None
        return "\n\n(cut off; it starts again)\n\n" if self._has_begun else ""

    def _flush(self) -> str:
        """Return what the current proposal has written, and further ones as long as each has ended."""
        pieces: list[str] = []
        while True:
            if self._current is None:
                self._current, self._has_begun = next(iter(self._buffered), None), False
            if self._current is None:
                return "".join(pieces)
            proposal, text = self._ended.get(self._current), "".join(self._buffered[self._current])
            self._buffered[self._current].clear()
            if not self._has_begun and (text or proposal):
                self._has_begun = True
                self._count += 1
                pieces.append(f"Proposal {self._count}\n\n")
            pieces.append(text)
            if proposal is None:
                return "".join(pieces)
            pieces.append(_outcome(proposal))
            del self._buffered[self._current]
            self._current = None


def _outcome(proposal: Proposal) -> str:
    """What follows a proposal's text: its author, or why it isn't used."""
    if proposal.error is None:
        return f"\n\n(by {proposal.agent})\n\n"
    return f"\n\n({proposal.agent}: not used, {proposal.error.code})\n\n"


def proposals_text(answer: Answer) -> str:
    """Return all proposals of a run that has ended as one text, in the order of the roster."""
    proposals = [proposal for layer in answer.layers for proposal in layer.roster]
    return "".join(
        f"Proposal {number}\n\n{proposal.text}{_outcome(proposal)}" for number, proposal in enumerate(proposals, 1)
    )

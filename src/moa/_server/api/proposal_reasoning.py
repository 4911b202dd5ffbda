"""Proposals told as one text, for clients that can show only one: they show it as the model's thinking."""

from moa._results import Answer, Proposal
from moa.events import Event, LayerFinished, ProposalDelta, ProposalFinished, ProposalRestarted

_Place = tuple[int, int]


class ProposalReasoning:
    """Streams proposals one after another while several are written concurrently.

    The proposal that starts first is streamed as it is written. The others wait, and their text so far follows in one
    piece, so that no two texts are mixed.
    """

    def __init__(self) -> None:
        self._waiting: dict[_Place, list[str]] = {}
        self._ended: dict[_Place, Proposal] = {}
        self._count = 0
        self._current: _Place | None = None
        self._begun = False

    def add(self, event: Event) -> str:
        """Return what is told now, empty if nothing."""
        match event:
            case ProposalDelta(reasoning=False):
                self._waiting.setdefault((event.layer, event.index), []).append(event.text)
            case ProposalRestarted():
                return self._void((event.layer, event.index))
            case ProposalFinished(proposal=proposal):
                place = (proposal.layer, proposal.index)
                self._waiting.setdefault(place, [])
                self._ended[place] = proposal
            case LayerFinished():
                pass
            case _:
                return ""
        return "".join(self._pieces())

    def _void(self, place: _Place) -> str:
        self._waiting.pop(place, None)
        if self._current != place:
            return ""
        self._current = None
        return "\n\n(cut off; it starts again)\n\n" if self._begun else ""

    def _pieces(self) -> list[str]:
        pieces: list[str] = []
        while True:
            if self._current is None:
                self._current, self._begun = next(iter(self._waiting), None), False
            if self._current is None or not self._emit(self._current, pieces):
                return pieces

    def _emit(self, place: _Place, pieces: list[str]) -> bool:
        """Tell what the speaker has written so far; return whether it has ended."""
        proposal = self._ended.get(place)
        text = "".join(self._waiting[place])
        self._waiting[place].clear()
        if not self._begun and (text or proposal):
            self._begun = True
            self._count += 1
            pieces.append(f"Proposal {self._count}\n\n")
        pieces.append(text)
        if proposal is None:
            return False
        pieces.append(_outcome(proposal))
        del self._waiting[place]
        self._current = None
        return True


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

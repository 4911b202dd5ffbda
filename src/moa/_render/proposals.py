"""The proposals behind an answer."""

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType
from rich.rule import Rule
from rich.text import Text

from moa._render.format import seconds
from moa._render.sanitize import one_line, safe
from moa._render.symbols import symbols
from moa._results import Answer, Proposal

_ERROR_LIMIT = 400


class ProposalsView:
    """Every proposal of a run in full, layer by layer, used or not."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Draw proposal by proposal."""
        dot = symbols(options).dot
        if not self._answer.layers:
            yield Text("this answer has no proposals: a single model was asked", style="dim")
        for layer in self._answer.layers:
            for proposal in layer.roster:
                title = (
                    f"layer {layer.number} {dot} {one_line(proposal.agent, limit=60)} {dot} {proposal_state(proposal)}"
                )
                yield Rule(Text(title), align="left", style="dim", characters="-" if options.ascii_only else "─")
                if proposal.error:
                    yield Text(one_line(proposal.error.message, limit=_ERROR_LIMIT), style="red")
                else:
                    yield Text(safe(proposal.text.strip()))
                yield Text()


def proposal_state(proposal: Proposal) -> str:
    """Return how a proposal ended and after how long: `used 1.2 s`."""
    if proposal.reused:
        return "reused"
    state = "cut off" if proposal.status == "used" and proposal.cut_off else proposal.status
    return f"{state} {seconds(proposal.duration_s)}"

"""What the tests of pictures share: drawing as plain text, and values to draw."""

import io
from decimal import Decimal

from rich.console import Console, RenderableType

from moa._ledger import Attempt, ErrorInfo
from moa._results import Proposal
from moa._usage import TokenUsage
from moa.events import AgentInfo, RunStarted


class _Encoded(io.StringIO):
    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding


def drawn(picture: RenderableType, *, width: int = 80, encoding: str = "utf-8") -> str:
    """Return a picture as the text of a terminal without colours, blanks at the ends of lines left out."""
    file = _Encoded(encoding)
    Console(file=file, width=width, no_color=True, markup=False, emoji=False, highlight=False).print(picture)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def attempt(*, output: int, cost_usd: str | None = "0.00023", source: str = "reported") -> Attempt:
    """A finished attempt."""
    return Attempt(
        status="ok",
        started_s=0.0,
        duration_s=1.0,
        usage=TokenUsage(input_tokens=10, output_tokens=output),
        usage_source=source,  # type: ignore[arg-type]
        cost_usd=None if cost_usd is None else Decimal(cost_usd),
    )


def started(*layers: tuple[str, ...]) -> RunStarted:
    """A run with these agents and an aggregator `writer`."""
    return RunStarted(
        id="run",
        mixture="test",
        layers=tuple(
            tuple(AgentInfo(agent=name, model=f"lab/{name}", index=i) for i, name in enumerate(names))
            for names in layers
        ),
        aggregator=AgentInfo(agent="writer", model="lab/writer", index=0),
    )


def used(name: str, index: int, **changes: object) -> Proposal:
    """A proposal of layer 1 that was used."""
    given = {"text": "text", "finish_reason": "stop", "duration_s": 1.23, "attempts": (attempt(output=184),)}
    return Proposal(agent=name, model=f"lab/{name}", layer=1, index=index, status="used", **(given | changes))


def failed(name: str, index: int, message: str, status: str = "failed") -> Proposal:
    """A proposal of layer 1 that was not used."""
    return Proposal(
        agent=name,
        model=f"lab/{name}",
        layer=1,
        index=index,
        status=status,  # type: ignore[arg-type]
        duration_s=0.34,
        error=ErrorInfo(code="rate_limited", message=message),
    )

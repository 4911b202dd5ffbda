"""A drawing of a mixture's layers."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.align import Align
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from moa._mixture.schema import Agent, Mixture, Wait
from moa._render.format import count
from moa._render.sanitize import one_line, safe
from moa._render.symbols import Symbols, symbols

_WIDEST = 100
_ROLE_LIMIT = 200
_EXTRA_LIMIT = 60
_PARAMETERS = ("temperature", "top_p", "top_k", "max_tokens", "seed", "reasoning_effort")


class MixtureView:
    """A drawing of a mixture: the prompt at the top, one box for each layer, the answer at the bottom."""

    def __init__(self, mixture: Mixture) -> None:
        self._mixture = mixture

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Draw from the prompt to the answer."""
        mixture, signs = self._mixture, symbols(options)
        width = min(options.max_width, _WIDEST)
        yield Text(safe(mixture.name), style="bold")
        if mixture.description:
            yield Text(safe(mixture.description.strip()), style="dim")
        yield Text()
        yield Align.center(Text("prompt", style="dim"), width=width)
        for number, layer in enumerate(mixture.layers, 1):
            yield _arrow(signs, width)
            title = f"layer {number} {signs.dot} {count(layer.size, 'proposer')}"
            agents = [_agent(agent, signs) for agent in layer.proposers]
            body = Group(*agents, *_waiting(layer.wait or mixture.wait))
            yield _box(title, body, width, style="cyan")
        yield _arrow(signs, width)
        title = f"aggregator {signs.dot} {mixture.aggregation}" if mixture.layers else "model"
        yield _box(title, _agent(mixture.aggregator, signs), width, style="green")
        yield _arrow(signs, width)
        yield Align.center(Text("answer", style="dim"), width=width)
        yield from _limits(mixture, signs)


def summary(mixture: Mixture) -> str:
    """Return a mixture's shape in a few words: `3 + 3 proposers, then synthesis by bedrock/…`."""
    if not mixture.layers:
        return f"{safe(mixture.aggregator.model)} alone"
    sizes = " + ".join(str(layer.size) for layer in mixture.layers)
    plural = "" if sizes == "1" else "s"
    return f"{sizes} proposer{plural}, then {mixture.aggregation} by {safe(mixture.aggregator.model)}"


def mixture_list(mixtures: Sequence[Mixture]) -> Table:
    """Return a table of mixtures: name, shape and description."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for mixture in mixtures:
        lines = [Text(summary(mixture))]
        lines += [Text(safe(mixture.description.strip()), style="dim")] if mixture.description else []
        table.add_row(Text(safe(mixture.name), style="bold"), Text("\n").join(lines))
    return table


def _arrow(signs: Symbols, width: int) -> RenderableType:
    return Align.center(Text(f"{signs.line}\n{signs.arrow}", style="dim"), width=width)


def _box(title: str, body: RenderableType, width: int, *, style: str) -> Panel:
    return Panel(
        body,
        title=Text(title, style=style),
        title_align="left",
        width=width,
        box=box.ROUNDED,
        border_style=f"dim {style}",
        padding=(0, 1),
    )


def _waiting(wait: Wait | None) -> Sequence[Text]:
    if wait is None:
        return ()
    grace = "" if wait.grace_s is None else f", then {wait.grace_s:g} s for the rest"
    return (Text(f"waits for {count(wait.min_proposals, 'proposal')}{grace}", style="dim italic"),)


def _agent(agent: Agent, signs: Symbols) -> RenderableType:
    samples = f"  x {agent.samples}" if agent.samples > 1 else ""
    head = Text.assemble((safe(agent.name or agent.model), "bold"), (samples, "cyan"))
    details = [safe(agent.model)] if agent.name else []
    details += [f" {signs.dot} ".join(parameters(agent))] if parameters(agent) else []
    details += [f"if it fails: {', '.join(map(safe, agent.fallback))}"] if agent.fallback else []
    details += [f"role: {one_line(agent.role, limit=_ROLE_LIMIT)}"] if agent.role else []
    return Group(head, *(Padding(Text(detail, style="dim"), (0, 0, 0, 2)) for detail in details))


def parameters(agent: Agent) -> list[str]:
    """Return the sampling parameters that an agent sets, as short texts."""
    given = {name: getattr(agent, name) for name in _PARAMETERS}
    shown = [
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in given.items()
        if value is not None
    ]
    return [*shown, *(one_line(f"{name} {value}", limit=_EXTRA_LIMIT) for name, value in sorted(agent.extra.items()))]


def _limits(mixture: Mixture, signs: Symbols) -> Iterator[Text]:
    limits = [] if mixture.prompt == "default" else [f"prompt {safe(mixture.prompt)}"]
    limits += [] if mixture.deadline_s is None else [f"deadline {mixture.deadline_s:g} s"]
    limits += [] if mixture.budget_usd is None else [f"budget ${mixture.budget_usd}"]
    limits += ["a failed aggregator gives the best proposal"] if mixture.on_aggregator_failure != "error" else []
    if limits:
        yield Text(f" {signs.dot} ".join(limits), style="dim")

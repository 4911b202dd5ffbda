"""What `moa eval label` does once its command line is understood."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from rich.text import Text

from moa._cli.console import out_console, print_sentences, say
from moa._render.format import count
from moa._render.sanitize import safe
from moa.errors import UsageError
from moa.evaluation._analysis.load_run import collect, table_in
from moa.evaluation._label_page import labelling_page
from moa.evaluation._runner.labels import Labels, Shown
from moa.evaluation._runner.run_directory import RunDirectory
from moa.evaluation._runner.store import CellStore

_CHOICES = {"a": "a", "b": "b", "t": "tie", "tie": "tie"}


def label(
    run: Path,
    *,
    system: str | None,
    number: int,
    rater: str,
    seed: int,
    page: bool,
    port: int,
    csv: Path | None,
    ask: Callable[[str], str] = input,
) -> None:
    """Have pairs labelled, and say what the labels say so far; see the options of `moa eval label`."""
    folder = RunDirectory(run)
    manifest = folder.manifest()
    protocol = manifest.protocol
    if protocol.judge is not None and not folder.cells.exists():
        raise UsageError(f"{run}: an earlier version wrote this run, which can be reported but not labelled")
    if protocol.judge is None:
        raise UsageError(f"{run}: nothing has been judged in this run: labels correct a judge's win rate")
    with closing(CellStore(folder.cells)) as store:
        table = table_in(manifest, store)
        labels = Labels(table, store, system or protocol.candidate, seed=seed)
        if csv is not None:
            say(f"{count(asyncio.run(labels.read(csv, rater)), 'label')} read from {csv}")
        elif page:
            asyncio.run(_on_a_page(labels, rater, number, port))
        else:
            asyncio.run(_in_the_terminal(labels, rater, number, ask))
    human = collect(folder).human
    print_sentences(*([one.sentence for one in human] or ["no labels yet"]))


async def _in_the_terminal(labels: Labels, rater: str, number: int, ask: Callable[[str], str]) -> None:
    for shown in labels.left(rater, number):
        _show(shown)
        choice = ""
        while choice not in _CHOICES:
            try:
                choice = (await asyncio.to_thread(ask, "better: [a], [b], [t]ie; [q]uit: ")).strip().lower()
            except EOFError:
                return
            if choice in ("q", "quit"):
                return
        await labels.keep(shown.pair, rater, shown.preference(_CHOICES[choice]))


def _show(shown: Shown) -> None:
    console = out_console()
    console.rule(f"pair {shown.number} of {shown.of}")
    console.print(Text(safe(shown.pair.instruction), style="bold"))
    for name, output in zip("AB", shown.outputs, strict=True):
        console.rule(name, style="dim")
        console.print(Text(safe(output)))
    console.rule(style="dim")


async def _on_a_page(labels: Labels, rater: str, number: int, port: int) -> None:
    async with labelling_page(labels, rater, number, port=port) as page:
        say(f"Open {page.address} and label there; Ctrl-C ends it, and what was labelled stays.")
        await page.done.wait()

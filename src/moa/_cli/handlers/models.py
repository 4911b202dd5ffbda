"""Output of `moa models`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from moa._cli.console import draw, print_json, say
from moa._config.settings import Settings
from moa._pricing.lookup import find_price
from moa._render.sanitize import safe
from moa._runtime.model_lists import ModelList
from moa._usage import TokenUsage, json_usd
from moa.providers._model_lists import ListedModel

_MILLION = 1_000_000


def show_models(lists: Sequence[ModelList], settings: Settings, *, named: bool, as_json: bool) -> None:
    """Print what endpoints list; of endpoints that were not named, those that list nothing are left out."""
    rows = [_row(one.endpoint, model, settings) for one in lists for model in sorted(one.models, key=_id)]
    if as_json:
        failures = {one.endpoint: one.failure for one in lists if one.failure and named}
        print_json({"models": rows, "failures": failures})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model", no_wrap=True)
    for heading in ("$ in", "$ out", "window"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        window = "" if row["context_window"] is None else f"{row['context_window']:,}"
        table.add_row(safe(row["model"]), _money(row["input_usd"]), _money(row["output_usd"]), window)
        if row["note"]:
            table.add_row(Text(f"  {safe(row['note'])}", style="yellow"))
    if rows:
        draw(table, keeps_lines=True)
    for one in lists:
        if one.failure and named:
            say(f"{one.endpoint}: {safe(one.failure)}", style="yellow")
        elif named and not one.models:
            say(f"{one.endpoint} lists no models")
    if not rows and not named:
        say("no endpoint that is ready lists models: `moa doctor` says what they need")


def _id(model: ListedModel) -> str:
    return model.id


def _row(name: str, model: ListedModel, settings: Settings) -> dict[str, Any]:
    price = find_price(settings.endpoints[name], model.id)
    rates = [price(usage) for usage in (TokenUsage(input_tokens=_MILLION), TokenUsage(output_tokens=_MILLION))]
    return {
        "model": f"{name}/{model.id}",
        "input_usd": json_usd(rates[0]),
        "output_usd": json_usd(rates[1]),
        "context_window": model.context_window,
        "status": model.status,
        "ends_on": None if model.ends_on is None else model.ends_on.isoformat(),
        "note": model.note(datetime.now(UTC).date()),
    }


def _money(amount: float | None) -> str:
    return "" if amount is None else f"{amount:g}"

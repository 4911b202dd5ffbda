"""Handler of `moa serve`: starts the server and prints its addresses."""

import asyncio
import json
import logging
import sys
import threading
from functools import partial

from moa._config.settings import load_settings
from moa._runtime.gc_tuning import reduced_gc
from moa._runtime.model_lists import lifecycle_notes
from moa._server.api_keys import hash_key, new_key
from moa._server.launcher import ServeSettings, serve
from moa._server.logs import LogFormat
from moa._server.options import ServerOptions
from moa._server.startup_checks import usable_mixtures
from moa.errors import MoaError

log = logging.getLogger("moa.server.start")


def start(serving: ServeSettings) -> None:
    """Print what is served and where on standard error, and serve.

    Raises:
        MoaError: The server can't start.
    """
    threading.Thread(target=warn_of_lifecycles, args=(serving,), daemon=True, name="moa-lifecycles").start()
    with reduced_gc():
        serve(serving, partial(_announce, serving.log_format))


def warn_of_lifecycles(serving: ServeSettings) -> None:
    """Tell which models are gone or will be; beside the server, whose start doesn't wait for it."""
    try:
        settings = load_settings(serving.config)
        mixtures, _ = usable_mixtures(serving.mixtures, settings)
        references = {reference for mixture in mixtures for reference in mixture.references}
        notes = asyncio.run(lifecycle_notes({*references, *serving.compare_with}, settings))
    except MoaError:
        return  # the server's own start says what is wrong
    for note in notes:
        log.warning("model lifecycle: %s", note)


def _announce(log_format: LogFormat, options: ServerOptions, url: str) -> None:
    models = [f"moa/{mixture.name}" for mixture in options.mixtures]
    if log_format == "json":
        log.info("listening", extra={"facts": {"url": url, "models": models}})
        return
    names = ", ".join(models)
    print(f"Serving {names}, listening on {url}", file=sys.stderr)
    for name, why in options.left_out.items():
        print(f"Not served: moa/{name}: {why}", file=sys.stderr)
    print(f"Playground: {url}/  API: {url}/v1  (Ctrl-C stops)", file=sys.stderr, flush=True)


def print_new_key(name: str) -> None:
    """Print a new key, which is never shown again, and its entry for the key file."""
    key = new_key()
    print(f"Key (not shown again): {key}\n\nEntry for the key file:\n")
    print(f"keys:\n  - name: {json.dumps(name)}\n    sha256: {json.dumps(hash_key(key))}")
    print("    # budget_usd: 5             # until the server is restarted")
    print("    # requests_per_minute: 60")

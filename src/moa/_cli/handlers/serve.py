"""What `moa serve` shows, beside serving."""

import json
import sys

from moa._cli.gc_tuning import reduced_gc
from moa._server.api_keys import hash_key, new_key
from moa._server.launcher import ServeSettings, serve
from moa._server.options import ServerOptions


def start(serving: ServeSettings) -> None:
    """Serve, after saying on standard error what and where.

    Raises:
        MoaError: It can't be served.
    """
    with reduced_gc():
        serve(serving, _announce)


def _announce(options: ServerOptions, url: str) -> None:
    names = ", ".join(f"moa/{mixture.name}" for mixture in options.mixtures)
    print(f"Serving {names}, listening at {url}", file=sys.stderr)
    print(f"Playground: {url}/  API: {url}/v1  (Ctrl-C stops)", file=sys.stderr, flush=True)


def print_new_key(name: str) -> None:
    """Print a new key, which is shown this once, and what the file of keys has to hold of it."""
    key = new_key()
    print(f"Key, shown only now: {key}\n\nEntry for the file of keys:\n")
    print(f"keys:\n  - name: {json.dumps(name)}\n    sha256: {json.dumps(hash_key(key))}")
    print("    # budget_usd: 5             # until the server is started anew")
    print("    # requests_per_minute: 60")

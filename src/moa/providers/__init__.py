"""How one model is called: a protocol, one HTTP transport, and an adapter for each kind of service."""

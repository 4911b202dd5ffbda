"""The connection level: exchanges, middleware, errors, limits."""

"""The cache of replies in a SQLite file that several processes share.

`policy` wraps a provider, `key` defines which calls are the same, `entry` is a stored reply, `store` is the file,
`async_store` gives an event loop access to it, `import_export` writes and reads it as JSON Lines.
"""

"""The cache: replies that were bought once, kept in a SQLite file that several processes share.

`policy` is the provider around a provider, `key` says which calls are the same, `entry` what is kept of a reply,
`store` is the file, `shelf` gives an event loop access to it, `transfer` writes and reads it as JSON Lines.
"""

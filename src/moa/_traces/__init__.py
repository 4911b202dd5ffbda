"""Runs written to a file and read back: as one JSON object a line, without any secret, replayed without network.

`recording` writes a run while it happens, `reading` checks a file and gives a `Trace`, `replaying` runs its mixture
again with models that say what they said then, `comparing` tells whether the same came out. `secrets` keeps keys out.
"""

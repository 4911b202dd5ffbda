"""Runs written to a file and read back: as one JSON object a line, without any secret, replayed without network.

`recording` writes a run while it happens, `reading` checks a file and gives a `Trace`, `replaying` runs its mixture
again with models that give the recorded replies, `comparing` lists the differences, `redaction` masks secrets.
`lines` defines the file's format.
"""

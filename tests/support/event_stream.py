"""Writes the binary event streams of AWS: the counterpart of botocore's reader, for stand-ins of its services."""

import struct
from binascii import crc32
from collections.abc import Mapping

import orjson

_STRING = 7


def frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Return one message: lengths and their checksum, headers, payload, checksum of all of it."""
    head = b"".join(_header(name, value) for name, value in headers.items())
    lengths = struct.pack("!II", 16 + len(head) + len(payload), len(head))
    begun = lengths + struct.pack("!I", crc32(lengths)) + head + payload
    return begun + struct.pack("!I", crc32(begun))


def event(kind: str, told: object) -> bytes:
    """Return an event of a ConverseStream."""
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return frame(headers, orjson.dumps(told))


def exception(kind: str, message: str) -> bytes:
    """Return an exception event, as services send it when they fail in mid-stream."""
    headers = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return frame(headers, orjson.dumps({"message": message}))


def _header(name: str, value: str) -> bytes:
    key, text = name.encode(), value.encode()
    return struct.pack("!B", len(key)) + key + struct.pack("!BH", _STRING, len(text)) + text

"""Server-sent events, read from bytes that are broken anywhere."""

from collections.abc import Iterator

BOM = b"\xef\xbb\xbf"


class SseReader:
    """Splits a stream of bytes into events, as far as they matter here: each one's name and data.

    Lines end in LF, CRLF or CR. `error:` is no field of the standard, but old llama.cpp servers send it, so it counts
    as the data of an event named `error`.

    Source:
        WHATWG HTML, 9.2.6 "Interpreting an event stream".
    """

    def __init__(self) -> None:
        self._pending: list[bytes] = []
        self._data: list[bytes] = []
        self._name = b""
        self._after_cr = False
        self._started = False

    def feed(self, chunk: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Give name and data of each event that the next bytes complete; an ordinary event's name is empty."""
        if not self._started:
            chunk = self._without_bom(chunk)
        if self._after_cr and chunk:
            chunk = chunk[1:] if chunk[0] == 10 else chunk
            self._after_cr = False
        if not chunk:
            return
        lines = chunk.splitlines(keepends=True)
        for line in lines:
            end = line[-1]
            if end != 10 and end != 13:
                self._pending.append(line)
                return
            if self._pending:
                line = b"".join((*self._pending, line))
                self._pending.clear()
            if event := self._line(line.rstrip(b"\r\n")):
                yield event
        self._after_cr = lines[-1][-1] == 13

    def end(self) -> Iterator[tuple[bytes, bytes]]:
        """Give what the end of the stream leaves over: servers exist that omit the last empty line."""
        for line in (b"".join(self._pending), b""):
            if event := self._line(line):
                yield event
        self._pending.clear()

    def _without_bom(self, chunk: bytes) -> bytes:
        # A byte order mark may be split too, so its first bytes are held back until it is clear what they are.
        head = b"".join((*self._pending, chunk))
        self._pending.clear()
        if len(head) < len(BOM) and BOM.startswith(head):
            self._pending.append(head)
            return b""
        self._started = True
        return head.removeprefix(BOM)

    def _line(self, line: bytes) -> tuple[bytes, bytes] | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._name = value
        elif name == b"error":
            self._name = b"error"
            self._data.append(value)
        return None

    def _dispatch(self) -> tuple[bytes, bytes] | None:
        name, self._name = self._name, b""
        if not self._data:
            return None
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data.clear()
        return name, data

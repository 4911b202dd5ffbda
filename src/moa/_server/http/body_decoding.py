"""Bodies of requests that come compressed."""

import zlib
from collections.abc import Iterator

from moa._server.http.errors import RequestError

SLICE_BYTES = 64 * 1024
"""Most bytes that are decoded at once: a few kilobytes can stand for megabytes."""


class BodyDecoder:
    """Decodes a body in pieces.

    Args:
        window_bits: Of zlib, for the format; None: the body isn't compressed.
    """

    def __init__(self, window_bits: int | None) -> None:
        self._decoder = None if window_bits is None else zlib.decompressobj(window_bits)

    def feed(self, piece: bytes, *, is_last: bool) -> Iterator[bytes]:
        """Give what a further piece of the body stands for, in slices.

        Raises:
            RequestError: It isn't compressed as its headers say, or not to its end.
        """
        decoder = self._decoder
        if decoder is None:
            yield piece
            return
        try:
            is_more = bool(piece)
            while is_more:
                decoded = decoder.decompress(piece, SLICE_BYTES)
                yield decoded
                piece = decoder.unconsumed_tail
                is_more = bool(piece) or len(decoded) == SLICE_BYTES
        except zlib.error as error:
            message = f"the body is not compressed as Content-Encoding says: {error}"
            raise RequestError(400, "invalid_body", message) from None
        if is_last and not decoder.eof:
            raise RequestError(400, "invalid_body", "the compressed body ends too early")


def body_decoder(content_encoding: str) -> BodyDecoder:
    """Return what decodes a body with this `Content-Encoding`.

    Raises:
        RequestError: Nothing does.
    """
    match content_encoding.strip().lower():
        case "" | "identity":
            return BodyDecoder(None)
        case "gzip" | "x-gzip":
            return BodyDecoder(16 + zlib.MAX_WBITS)
        case "deflate":
            return BodyDecoder(zlib.MAX_WBITS)
    message = (
        f"the body is compressed with {content_encoding!r:.40}: send it as it is, or with gzip (in Codex, switch the "
        "feature enable_request_compression off)"
    )
    raise RequestError(415, "unsupported_media_type", message)

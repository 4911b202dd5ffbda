"""Moves bytes between a request and its reply; what they mean stands in `encode`, `decode` and `failures`."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

from moa.errors import ProviderError
from moa.providers._base import ModelRequest, ReplyEvent, WholeReply
from moa.providers._bedrock import encode
from moa.providers._bedrock.aws import Aws, FrameReader
from moa.providers._bedrock.decode import StreamDecoder, whole_reply
from moa.providers._bedrock.error_mapping import from_response
from moa.providers._http import HttpRequest, HttpResponse, Transport, drain
from moa.providers._reply_context import ReplyContext


class BedrockProvider:
    """Calls models of one Amazon Bedrock endpoint by Converse, or ConverseStream where deltas are wanted.

    Args:
        aws: Address and signatures.
        transport: Sends the requests.
        aclose: Closes the transport.
    """

    takes_seed = False

    def __init__(self, aws: Aws, transport: Transport, *, aclose: Callable[[], Awaitable[None]]) -> None:
        self._aws, self._transport, self._close = aws, transport, aclose

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ReplyEvent]]:
        """Open a reply.

        Raises:
            ProviderError: On entering or while iterating.
        """
        body = encode.body(request)
        url, headers = await self._aws.signed(encode.path(request), body, reference=request.reference)
        sent = HttpRequest(
            url=url, headers=headers, body=body, reference=request.reference, idle_timeout_s=request.idle_timeout_s
        )
        secrets = self._aws.secrets(headers)
        try:
            async with self._transport(sent) as response:
                request_id = response.headers.get("x-amzn-requestid")
                context = ReplyContext(request.reference, request, request_id, secrets)
                if response.status != 200:
                    raise from_response(response.status, response.headers, await response.read(), context)
                if not request.deltas:
                    yield WholeReply(whole_reply(await response.read(), context))
                    return
                async with aclosing(_streamed(response, context)) as events:
                    yield events
        except ProviderError as error:
            secrets.redact(error)
            raise

    async def aclose(self) -> None:
        """Close the connections."""
        await self._close()


async def _streamed(response: HttpResponse, context: ReplyContext) -> AsyncGenerator[ReplyEvent, None]:
    reader, decoder = FrameReader(reference=context.reference), StreamDecoder(context)
    chunks = response.chunks()
    async for chunk in chunks:
        for frame in reader.feed(chunk):
            for event in decoder.feed(frame):
                yield event
        if decoder.finished:
            await drain(chunks)
            return
    decoder.end()

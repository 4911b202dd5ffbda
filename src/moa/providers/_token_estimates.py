"""Token counts for when no service has reported any: worst cases before a call, and calls that were cut off."""

from moa._messages import Conversation, ReplyOptions
from moa.providers._base import ModelRequest

BYTES_PER_TOKEN = 4
"""UTF-8 bytes per token: the usual rule of thumb for English; scripts of three bytes a character come out near
the 0.7 to 1 token a character that current tokenizers need."""

TOKENS_PER_MESSAGE = 4
"""Role and separators of a message in the common chat templates."""

TOKENS_PER_IMAGE = 1600
"""The most that Anthropic's models count for an image (width x height / 750, resized to 1.15 megapixels)."""


def estimated_tokens(text: str) -> int:
    """Return about how many tokens a text has, rounded up."""
    return tokens_of(size_bytes(text))


def size_bytes(text: str) -> int:
    """Return how many bytes a text has in UTF-8."""
    return len(text.encode("utf-8", "surrogatepass"))


def tokens_of(text_bytes: int) -> int:
    """Return about how many tokens so many bytes of text have, rounded up."""
    return -(-text_bytes // BYTES_PER_TOKEN)


def estimated_conversation_tokens(conversation: Conversation) -> int:
    """Return about how many tokens a conversation has."""
    total = 0
    for message in conversation:
        total += TOKENS_PER_MESSAGE + estimated_tokens(message.text) + TOKENS_PER_IMAGE * len(message.images)
        total += sum(estimated_tokens(call.name + call.arguments) for call in message.tool_calls)
    return total


def estimated_input_tokens(request: ModelRequest) -> int:
    """Return about how many tokens a request's prompt has."""
    return estimated_prompt_tokens(request.messages, request.options)


def estimated_prompt_tokens(conversation: Conversation, options: ReplyOptions) -> int:
    """Return about how many tokens a conversation has together with the tools that are offered."""
    tools = sum(estimated_tokens(str(tool)) for tool in options.tools)
    return estimated_conversation_tokens(conversation) + tools

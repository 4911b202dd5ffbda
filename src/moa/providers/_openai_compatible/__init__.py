"""Models behind the OpenAI chat completions API, wherever it is served."""

from moa.providers._openai_compatible.provider import open_openai_compatible

__all__ = ["open_openai_compatible"]

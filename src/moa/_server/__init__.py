"""The server: mixtures as ordinary models behind the APIs of OpenAI and Anthropic, and the playground's own API."""

"""Mixtures of language models: run them, prove that they are worth it, serve them."""

"""Measurements of the project, each run by `uv run python -m bench.NAME`."""

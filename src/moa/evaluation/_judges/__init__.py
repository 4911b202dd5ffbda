"""Judges: what prefers one of two outputs."""

"""Endpoints and settings: the only reader of the user's files and of environment variables."""

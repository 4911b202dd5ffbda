"""The wire formats: requests read, replies encoded."""

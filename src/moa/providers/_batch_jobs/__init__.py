"""Requests of many runs as file jobs of a service's batch API: half the price, hours in place of seconds."""

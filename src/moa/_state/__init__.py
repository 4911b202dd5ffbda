"""Counters and items that processes share: budgets, rates, open breakers, stored conversations."""

"""Statistics of preferences: intervals, paired differences, sequences that hold at every look. Pure functions."""

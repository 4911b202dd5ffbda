"""Length-controlled win rates: the models, their fits, and the error of what they say. Pure functions."""

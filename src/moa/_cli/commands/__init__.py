"""The commands as Typer declares them; a declaration imports nothing heavy."""

"""The Typer declarations of the commands; a declaration imports nothing heavy."""

"""The command `moa`: one file for each command, which parses, calls and shows. The only place that prints."""

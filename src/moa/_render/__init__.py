"""Pictures of values: for a terminal now. Nothing here prints, reads a file or knows a vendor."""

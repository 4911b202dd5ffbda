"""Files and values that are checked strictly."""

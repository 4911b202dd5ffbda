"""What many runs share, and how a run is asked for."""

"""An evaluation while it runs: who is asked what, what is written down, when it is enough."""

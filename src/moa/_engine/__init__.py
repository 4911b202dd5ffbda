"""How a mixture runs: its layers one after another, its agents side by side, its answer with every call accounted for.

The engine knows no vendor, no file and no JSON. It is given providers that are ready to be asked, and reports what
happens as events.
"""

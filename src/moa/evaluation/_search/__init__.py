"""`moa eval search`: the cheapest mixture that is good enough."""

"""Pictures of an evaluation's summary: one HTML file, Markdown, and the charts by themselves."""

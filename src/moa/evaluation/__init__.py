"""Measure mixtures: datasets, systems, judges, length control, statistics, the report.

Needs the `eval` extra. Nothing here is imported by `import moa`.
"""

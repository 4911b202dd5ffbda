"""Measures of one output: right answers, patterns, schemas, functions, rubrics. Each gives a score from 0 to 1."""

"""Summaries, intervals, comparisons and the stop rule: pure, deterministic functions on arrays."""

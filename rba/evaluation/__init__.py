"""Benchmarks, baselines and the report on a model."""

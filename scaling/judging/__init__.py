"""Validity checks, baselines, and the law of a ladder."""

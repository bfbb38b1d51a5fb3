"""Baselines, validity checks, and the law of a ladder."""

"""Prices, features and windows: everything that a model may see, checked on entry."""

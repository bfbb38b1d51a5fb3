"""Prices, features and windows: everything a model may see, checked on entry."""

"""The model and how it is trained, saved and resumed."""

"""The report's figures and page."""

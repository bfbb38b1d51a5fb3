"""Does a bigger transformer predict the market better? The library behind the workflow."""

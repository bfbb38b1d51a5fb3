"""Does loss fall with size? Ladders of forecasts, resampled, and the verdict they carry."""

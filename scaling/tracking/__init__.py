"""The local record of a run, and the trackers that mirror it."""

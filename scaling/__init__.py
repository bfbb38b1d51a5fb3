"""Does a bigger transformer predict the market better? The library behind the workflow."""

import logging

logging.getLogger(__name__).setLevel(logging.INFO)

"""What a command says: to the terminal, past the progress bar, and to its log."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

Say = Callable[[str], None]


def make_say(log: Path | None) -> Say:
    """A function that prints a message and writes it to the log and to the log's history.

    Snakemake empties a declared log before each try; the history beside it keeps them all.
    """
    from tqdm import tqdm

    files = [log, log.with_suffix(".history")] if log else []

    def say(message: str) -> None:
        tqdm.write(message, file=sys.stderr)
        for path in files:
            try:
                with path.open("a") as stream:
                    stream.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}\n")
            except OSError as error:  # a full disk must not end the training that it reports
                tqdm.write(f"{path}: {error.strerror}", file=sys.stderr)

    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
    return say

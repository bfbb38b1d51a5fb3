"""Bad input ends in one line and exit code 2, and never in a traceback."""

import logging
import sys
from collections.abc import Callable

EXIT_BAD_INPUT = 2
EXIT_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: it stopped on purpose, and the same command resumes


class UserError(ValueError):
    """Something that the user can mend: what was found, what is allowed, what to type next."""


class Terminal(logging.Handler):
    """Shows what the library says: on standard error, above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message."""
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


def run_command(main: Callable[[], int | None]) -> None:
    """Run a command's `main` and exit. A `UserError` or an unusable file is one line and code 2."""
    if not (messages := logging.getLogger("scaling")).handlers:
        messages.addHandler(Terminal())
    try:
        sys.exit(main() or 0)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
    except (PermissionError, FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else error
        print(f"error: {what}", file=sys.stderr)
    sys.exit(EXIT_BAD_INPUT)

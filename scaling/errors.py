"""Bad input ends in one line and exit code 2, and never in a traceback."""

import sys
from collections.abc import Callable

EXIT_BAD_INPUT = 2
EXIT_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: it stopped on purpose, and the same command resumes


class UserError(ValueError):
    """Something that the user can mend: what was found, what is allowed, what to type next."""


def run_command(main: Callable[[], int | None]) -> None:
    """Run a command's `main` and exit. A `UserError` or an unusable file is one line and code 2."""
    try:
        sys.exit(main() or 0)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
    except (PermissionError, FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else error
        print(f"error: {what}", file=sys.stderr)
    sys.exit(EXIT_BAD_INPUT)

"""One trainer per run: a lock that the death of its process frees."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from scaling.errors import UserError

LOG = logging.getLogger(__name__)
WAIT_SECONDS = 120  # a trainer whose snakemake was killed needs this long to save and leave


@contextmanager
def sole_trainer(directory: Path, output: Path) -> Iterator[None]:
    """Hold the run's lock, waiting `WAIT_SECONDS` for another trainer to save and leave."""
    directory.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        LOG.info(f"another training of {output} holds {lock.lock_file}: waiting {WAIT_SECONDS} s")
        try:
            lock.acquire(timeout=WAIT_SECONDS)
        except Timeout:
            raise UserError(
                f"{output} is being trained by another process; let it finish, or end it (it saves "
                f"its state first): pkill -TERM -f 'scaling.train.*{output.stem}'"
            ) from None
    try:
        yield
    finally:
        lock.release()

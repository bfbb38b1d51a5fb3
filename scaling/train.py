"""Train one model: `python -m scaling.train --config configs/daily/threshold_1pct.yaml`."""

import argparse
import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scaling.errors import UserError, run_command
from scaling.machine.signals import catch_signals
from scaling.run import sample_flags
from scaling.tracking.log import logged

LOG = logging.getLogger(__name__)
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line; what is not given is the path that the workflow would use."""
    parser = argparse.ArgumentParser(prog="python -m scaling.train", description=__doc__)
    add = parser.add_argument
    add("--config", type=Path, required=True, help="one experiment, configs/daily/*.yaml")
    add("--param-budget", help="2m, 20m, ...: a file in configs/model (default: the config's)")
    add("--seed", type=int, help="default: the config's")
    sample_flags(parser)
    add("--batch-size", type=Path, help="JSON of find_batch_size (default: beside the output)")
    add("--output", type=Path, help="checkpoint (default: results/<experiment>/<run>.ckpt)")
    add("--record", type=Path, help="run record (default: the output, with .json)")
    add("--log", type=Path, help="a file for every message; FILE.history keeps earlier tries")
    add("--threads", type=int, help="CPU threads (default: all)")
    add("--shard", action="store_true", help="FSDP2 also where one device holds the whole state")
    add("--overwrite", action="store_true", help="replace a checkpoint of other settings")
    add("--stop-with-parent", action="store_true", help="save and stop if the caller is killed")
    arguments = parser.parse_args(argv)
    if arguments.threads is not None and arguments.threads < 1:
        parser.error(f"--threads {arguments.threads}: at least 1")
    return arguments


def main(argv: list[str] | None = None) -> int | None:
    """Train one budget and seed, and write its checkpoint and run record."""
    arguments = parse(argv)
    first = os.environ.get("RANK", "0") == "0"
    if not first:  # The first of torchrun's processes speaks, the others only of their own heat.
        logging.getLogger("scaling").setLevel(logging.CRITICAL)
        logging.getLogger("scaling.heat").setLevel(logging.INFO)
    with logged(arguments.log if first else None), errors_in_the_log(arguments.log):
        stop_requested = catch_signals(arguments.stop_with_parent)
        from scaling.training.request import checked_request

        request = checked_request(arguments)

        from scaling.training.run import train_one

        return train_one(request, stop_requested)


@contextmanager
def errors_in_the_log(log: Path | None) -> Iterator[None]:
    """Write a `UserError` to the log as well; a disk that cannot be written to is one."""
    try:
        yield
    except UserError as error:
        if log:
            LOG.info(f"stopped by an error: {error}")
        raise
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise UserError(
            f"{error.filename or 'writing'}: {error.strerror}; it must be writable: mend that, "
            "then the same command goes on from the last saved state"
        ) from None


if __name__ == "__main__":
    run_command(main)

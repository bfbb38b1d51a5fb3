"""Signals that ask a training to stop: they set a flag, so that no step is torn."""

import os
import signal
from collections.abc import Callable


def catch_signals(stop_with_parent: bool) -> Callable[[], str | None]:
    """From now on SIGTERM, SIGINT and SIGUSR1 are only remembered.

    Returns a function that names the reason to stop, or None; the training loop calls it between
    steps. With `stop_with_parent` the death of the calling process is a reason too.
    """
    received: list[str] = []
    for name in ("SIGTERM", "SIGINT", "SIGUSR1"):
        signal.signal(getattr(signal, name), lambda *_, name=name: received.append(name))
    parent = os.getppid()

    def stop_requested() -> str | None:
        if stop_with_parent and os.getppid() != parent:
            return "the process that started it has ended"
        return received[0] if received else None

    return stop_requested

"""Show which sensors of this machine answer: `python -m scaling.thermal`."""

import argparse

from scaling.errors import run_command
from scaling.machine.sensors import attempt, candidates


def main(argv: list[str] | None = None) -> None:
    """Print every source of heat that this platform may have, and what it reads now."""
    argparse.ArgumentParser(prog="python -m scaling.thermal", description=main.__doc__).parse_args(
        argv
    )
    found = 0
    for source in candidates("cuda"):
        reading, problem = attempt(source)
        found += reading is not None
        print(f"{source.name}: {reading or f'nothing ({problem})'}")
    if found:
        print(f"{found} sensor(s) answer; a training uses the first one that fits its device")
    else:
        print(
            "no sensor found: training works, but without a thermal guard; "
            "on Apple Silicon, `brew install macmon` adds temperatures"
        )


if __name__ == "__main__":
    run_command(main)

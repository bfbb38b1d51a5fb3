"""How long a command takes before it works: `--help` of each, and the imports training needs.

Fresh processes, the fastest of several, for a busy machine only ever adds.

    python benchmarks/startup.py
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IMPORTS = ("torch", "transformers", "scaling.model", "scaling.config", "mlflow")
COUNT = "import sys; before = len(sys.modules); import {}; print(len(sys.modules) - before)"


def fastest(command: list[str], rounds: int) -> tuple[float, str]:
    """Least wall seconds, and what the command printed last."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        best = min(best, time.perf_counter() - start)
    if done.returncode:
        return float("nan"), ""
    return best, done.stdout.strip()


def main(argv: list[str] | None = None) -> int | None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=2, help="processes each (default 2)")
    rounds = parser.parse_args(argv).rounds
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, python "
        f"{platform.python_version()}, {date.today()}, load average {os.getloadavg()[0]:.1f}\n"
    )
    print("| what | seconds | modules |\n|---|---|---|")
    bare, _ = fastest([sys.executable, "-c", ""], rounds)
    print(f"| python alone | {bare:.2f} | |")
    for path in sorted((ROOT / "scaling").glob("*.py")):
        if "run_command(main)" in path.read_text():
            name = f"scaling.{path.stem}"
            seconds, _ = fastest([sys.executable, "-m", name, "--help"], rounds)
            print(f"| python -m {name} --help | {seconds:.2f} | |", flush=True)
    for name in IMPORTS:
        seconds, modules = fastest([sys.executable, "-c", COUNT.format(name)], rounds)
        print(f"| import {name} | {seconds:.2f} | {modules} |", flush=True)
    return None


if __name__ == "__main__":
    sys.exit(main())

"""How long Snakemake plans a large grid: `python benchmarks/workflow.py --seeds 200`.

Plans (`snakemake --dry-run`) experiments x budgets x seeds in a fresh process and prints the
seconds, imports included. With 5 budgets, 200 seeds are 1,000 trainings and 2,012 jobs.
"""

import argparse
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--budgets", default="200k,600k,2m,20m,200m")
    parser.add_argument("--profile", default="default", help="a folder of workflow/profiles")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        grid = Path(folder) / "grid.yaml"
        seeds = list(range(42, 42 + arguments.seeds))
        grid.write_text(
            f"experiments: [daily/threshold_1pct]\nbudgets: [{arguments.budgets}]\nseeds: {seeds}\n"
        )
        began = time.monotonic()
        done = subprocess.run(
            [
                *(sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules"),
                *("--workflow-profile", f"workflow/profiles/{arguments.profile}"),
                *("--configfile", str(grid)),
            ],
            capture_output=True,
            text=True,
        )
        seconds = time.monotonic() - began
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
    printed = done.stdout + done.stderr
    if done.returncode:
        sys.exit(printed)
    jobs = max(int(count) for count in re.findall(r"^total\s+(\d+)", printed, re.MULTILINE))
    print(
        f"planned {jobs:,} jobs in {seconds:.1f} s "
        f"({used.ru_utime + used.ru_stime:.1f} s of CPU), imports included"
    )


if __name__ == "__main__":
    main()

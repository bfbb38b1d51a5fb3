"""What Snakemake itself costs: planning a grid, running it, finding it done.

A copy of this repository is planned (`--dry-run`), built and asked for again, with a `python` first
on the path that only writes the outputs of the costly commands; features and the check of the
manifest are real. Up to the report, n trainings are 2 n jobs, one search per budget, and 6 more.

    python benchmarks/workflow.py
"""

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from common import ROOT, Took, fresh, header, machine, parser, row

EXPERIMENT = "daily/threshold_1pct"
BUDGETS = ("200k", "600k", "2m", "20m", "200m")
SHIM = """\
#!/bin/sh
case "$2" in
scaling.prepare | scaling.check_data) exec {python} "$@" ;;
scaling.*) ;;
*) exec {python} "$@" ;;
esac
while [ $# -gt 0 ]; do
    case "$1" in
    --output | --record | --predictions)
        if [ -f "made/$2" ]; then cp "made/$2" "$2"; else echo '{{}}' >"$2"; fi
        ;;
    --figures) for name in {figures}; do echo '<svg/>' >"$2/$name.svg"; done ;;
    esac
    shift
done
"""


def copy_of_the_study(folder: Path, trainings: int) -> None:
    """The repository as far as the workflow reads it, a grid of that many trainings, the shim."""
    from scaling.figures.catalogue import figures_of

    ignored = shutil.ignore_patterns("__pycache__", "processed")
    for name in ("scaling", "workflow", "configs", "data"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    budgets = BUDGETS[:trainings]
    if trainings % len(budgets):
        sys.exit(f"error: --trainings {trainings}; allowed: up to 5, and multiples of 5")
    seeds = list(range(42, 42 + trainings // len(budgets)))
    (folder / "configs/full.yaml").write_text(
        f"experiments: [{EXPERIMENT}]\nbudgets: [{', '.join(budgets)}]\nseeds: {seeds}\n"
    )
    write_artefacts(folder, budgets, seeds)
    shim = folder / "bin/python"
    shim.parent.mkdir()
    shim.write_text(
        SHIM.format(
            python=sys.executable, figures=" ".join(figure.name for figure in figures_of(["runs"]))
        )
    )
    shim.chmod(0o755)


def write_artefacts(folder: Path, budgets: Sequence[str], seeds: Sequence[int]) -> None:
    """What the costly commands would say that they made their files with, for the shim to copy."""
    from scaling import config as configs
    from scaling import identities
    from scaling.record import write_json
    from scaling.run import RunName
    from scaling.sizes import load_model_config

    made, runs = folder / f"made/results/{EXPERIMENT}", []
    with contextlib.chdir(folder):
        config = configs.load_config(f"configs/{EXPERIMENT}.yaml")
        for name in (RunName(budget=budget, seed=seed) for budget in budgets for seed in seeds):
            model = load_model_config(name.budget, config.family)
            run = identities.run_of(identities.with_name(config, name), model, EXPERIMENT).as_json()
            judged = {"identity": run, "made_by": identities.judged_by(config)}
            written = name.written(config.seed)
            write_json(made / f"{written}.json", {"identity": run})
            write_json(made / f"{written}.eval.json", judged)
            runs.append(run)
        baselines = identities.baselines_run(config, EXPERIMENT).as_json()
    write_json(made / "baselines.json", {"identity": baselines})
    made_by = identities.fitted_by(config, experiments=1)
    write_json(made / "scaling_law.json", {"runs": runs, "made_by": made_by})


def snakemake(folder: Path, *options: str) -> Took:
    """What it printed and took, all its jobs included."""
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    script = 'exec "$0" -m snakemake "$@" 2>&1'
    return fresh("sh", "-c", script, sys.executable, *options, folder=folder, PATH=path)


def measure(trainings: int) -> None:
    """Print a line of the table, wall / CPU seconds in each column."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_of_the_study(folder, trainings)
        plan = snakemake(folder, "--dry-run", "--quiet", "rules")
        run, again = snakemake(folder), snakemake(folder)
    if "Nothing to be done" not in again.printed:
        sys.exit(f"error: the second run found something to do:\n{again.printed[-4000:]}")
    jobs = max(int(count) for count in re.findall(r"^total\s+(\d+)", plan.printed, re.MULTILINE))
    each = f"{run.wall / jobs:.3f} / {run.cpu / jobs:.3f}"
    planned, ran, found = (f"{one.wall:.1f} / {one.cpu:.1f}" for one in (plan, run, again))
    row(f"{trainings:,}", f"{jobs:,}", planned, ran, each, found)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--trainings", type=int, nargs="+", default=[3, 1000])
    counts = arguments.parse_args().trainings
    print(f"{machine('snakemake')}; wall / CPU seconds\n")
    header("trainings", "jobs", "dry run", "run", "run, a job", "up to date")
    for trainings in counts:
        measure(trainings)


if __name__ == "__main__":
    main()

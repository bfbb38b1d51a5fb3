"""What a grid will cost, before anything runs: `python -m scaling.plan --gpus 1 8`.

`--to-see 0.004` says instead what would show such an effect on the grid's studies, once they are
done, and which way to it is the cheapest.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from scaling.config import TrainingConfig, load_config
from scaling.errors import UserError, run_command
from scaling.grid import load_grid
from scaling.identities import left_out, origins_of
from scaling.names import RESULTS_ROOT, experiment_path
from scaling.reading import read_yaml
from scaling.registry import days_of
from scaling.run import RunName
from scaling.sizes import budget_parameters, known_budgets


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m scaling.plan", description=__doc__)
    add = parser.add_argument
    add("--grid", type=Path, default=Path("configs/full.yaml"), help="default: %(default)s")
    add("--results", type=Path, default=RESULTS_ROOT, help="default: %(default)s")
    add(
        "--device-flops",
        type=float,
        help="FLOP/s that one device sustains (default: as the batch-size search measured)",
    )
    add("--gpus", type=int, nargs="+", default=[1, 8], help="devices (default: 1 8)")
    add("--to-see", type=float, help="an effect in nats for ten times the parameters")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Print the grid's costs, job by job, by budget and in total."""
    arguments = parse(argv)
    if arguments.device_flops is not None and not arguments.device_flops > 0:
        raise UserError(f"--device-flops: got {arguments.device_flops}; allowed: above 0")
    if min(arguments.gpus) < 1:
        raise UserError(f"--gpus: got {min(arguments.gpus)}; allowed: 1 or more")
    if arguments.to_see is not None and not arguments.to_see > 0:
        raise UserError(f"--to-see: got {arguments.to_see}; allowed: above 0")
    grid = load_grid(read_yaml(arguments.grid), arguments.grid)
    experiments = {name: load_config(experiment_path(name)) for name in grid.experiments}
    if arguments.to_see is not None:
        for experiment, config in experiments.items():
            print("\n".join(to_see(experiment, config, arguments)))
        return

    from scaling.training.cost import cost_of, table, table_of_budgets, totals

    costs = [
        cost_of(experiment, run, arguments.results, arguments.device_flops)
        for experiment, config in experiments.items()
        for run in grid.runs_of(config)
    ]
    print(table(costs), end="\n\n")
    print(table_of_budgets(costs), end="\n\n")
    print("\n".join(totals(costs, arguments.gpus)))
    for experiment, config in experiments.items():
        if origins := origins_of(config):
            print(f"{experiment}: {len(origins)} folds, {origins[0]} to {origins[-1]}")
        if why := left_out(config):
            print(f"{experiment}: {why}")
    print(f"planned {len(costs)} trainings; next: snakemake --configfile {arguments.grid}")


def to_see(experiment: str, config: TrainingConfig, arguments: argparse.Namespace) -> list[str]:
    """What would show the effect on one study, a line for each way, and the cheapest."""
    from scaling.law.reach import ways_to_see
    from scaling.law.result import read_law
    from scaling.training.cost import cost_of, duration

    path, effect = arguments.results / experiment / "scaling_law.json", arguments.to_see
    if not path.is_file():
        raise UserError(
            f"{path}: does not exist, and the law says what a study can see; type: "
            f"snakemake {path} --configfile {arguments.grid}"
        )
    law = read_law(path)
    seen = law.ladder.parameters.sensitivity.smallest_detectable_effect
    if seen <= effect:
        return [f"{experiment}: sees {seen:.4f} nats a decade in four of five such studies already"]

    def price(names: Sequence[RunName]) -> float | None:
        costs = [cost_of(experiment, n, arguments.results, arguments.device_flops) for n in names]
        seconds = [cost.measured or cost.expected for cost in costs]
        return None if None in seconds else sum(filter(None, seconds))

    largest = max(cell.parameters for cell in law.ladder.cells)
    bigger = [b for b in known_budgets(config.family) if budget_parameters(b) > 1.1 * largest]
    first = min(days_of(m.prices, config.data.manifest).first for m in config.data.markets)
    spare = max(0.0, (config.splits.train[0] - first).days / 365.25)
    ways = ways_to_see(effect, law, bigger, spare, price)
    lines = [f"{experiment}: sees {seen:.4f} nats a decade in four of five such studies; {effect}:"]
    for name, way in ways.items():
        seen_so = "" if way.reaches is None else f"; sees {way.reaches:.4f}"
        costs = "" if way.seconds is None else f", {duration(way.seconds)} of training"
        lines.append(f"  {name}: {way.does}{seen_so}{costs}")
    paid = {name: way.seconds for name, way in ways.items() if way.seconds is not None}
    return [
        *lines,
        f"  cheapest: {min(paid, key=paid.__getitem__) if paid else 'none of them here'}",
    ]


if __name__ == "__main__":
    run_command(main)

"""The cost model on paper: counts, times and totals that can be checked by hand."""

import json
from pathlib import Path

import pandas as pd
import pytest

from scaling import config as configs
from scaling import plan
from scaling.data.tiers.a20 import FEATURE_NAMES
from scaling.errors import UserError
from scaling.grid import load_grid
from scaling.names import experiment_path
from scaling.reading import read_yaml
from scaling.run import RunName
from scaling.sizes import known_budgets, load_model_config
from scaling.training import cost as costs
from scaling.training.model import training_flops

EXPERIMENT = "daily/threshold_1pct"


def shipped() -> configs.TrainingConfig:
    return configs.load_config(experiment_path(EXPERIMENT))


def test_the_grid_leaves_2b_to_who_asks_for_it() -> None:
    assert "2b" in known_budgets()
    assert "2b" not in load_grid(read_yaml("configs/full.yaml")).budgets


def test_flops_are_windows_times_the_models_own(tmp_path: Path) -> None:
    cost = costs.cost_of(EXPERIMENT, RunName(budget="2m", seed=42), tmp_path, device_flops=1e12)
    config = shipped()
    train, validation = costs.epoch_windows(config)
    per_window = training_flops(load_model_config("2m"), config.window, len(FEATURE_NAMES))
    assert cost.flops == pytest.approx(
        config.optimiser.epochs * (train + validation / 3) * per_window
    )
    assert cost.expected == pytest.approx(cost.flops / 1e12)
    assert cost.run == "2m" and cost.measured is None


def test_windows_are_those_that_training_reads() -> None:
    train, validation = costs.epoch_windows(shipped())
    days = pd.read_parquet("data/raw/SPY.parquet").index
    # less 199 rows of SMA, 63 of warm-up, and the one whose label looks past the block
    assert train == (days <= "2009-12-31").sum() - 199 - 63 - 1
    assert validation == ((days >= "2010-01-01") & (days <= "2013-12-31")).sum() - 1


def test_a_search_gives_time_and_memory_and_a_record_the_measured_time(tmp_path: Path) -> None:
    folder = tmp_path / EXPERIMENT
    folder.mkdir(parents=True)
    tried = [
        {"micro_batch": 8, "peak_bytes": 10**9, "samples_per_second": 50.0},
        {"micro_batch": 16, "peak_bytes": 2 * 10**9, "samples_per_second": 100.0},
    ]
    search = {"micro_batch": 16, "tried": tried}
    (folder / "2m.batch_size.json").write_text(json.dumps(search))
    (folder / "2m.seed43.json").write_text(json.dumps({"seconds": 400.0}))
    train, validation = costs.epoch_windows(shipped())
    cost = costs.cost_of(EXPERIMENT, RunName(budget="2m", seed=43), tmp_path, device_flops=None)
    assert cost.expected == pytest.approx(5 * (train + validation / 3) / 100)
    assert (cost.memory, cost.measured, cost.source) == (2 * 10**9, 400.0, "search")
    assert "finished: 1" in costs.totals([cost], [1])[-1]


def test_without_a_measurement_no_time_is_invented(tmp_path: Path) -> None:
    cost = costs.cost_of(EXPERIMENT, RunName(budget="200k", seed=42), tmp_path, device_flops=None)
    assert cost.expected is None
    assert cost.memory == 16 * cost.parameters
    lines = costs.totals([cost], [1, 8])
    assert len(lines) == 2 and "--device-flops" in lines[1]
    assert costs.table_of_budgets([cost]).split()[-4:] == ["-", "-", "-", "0"]


def test_the_makespan_is_never_below_the_longest_job_nor_below_an_even_share() -> None:
    jobs = [5.0, 4.0, 3.0, 3.0, 3.0]
    assert costs.makespan(jobs, 1) == sum(jobs)
    assert costs.makespan(jobs, 2) == 10.0
    assert costs.makespan(jobs, 8) == 5.0


def test_the_printed_plan_has_every_job_and_the_total(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    grid = "configs/laptop.yaml"
    plan.main(["--grid", grid, "--results", str(tmp_path), "--device-flops", "160e9"])
    printed = capsys.readouterr().out
    assert printed.count(EXPERIMENT) == 9
    assert "2m.seed44" in printed and "total: 9 trainings" in printed and "8 devices" in printed


def job(run: str, flops: float, measured: float | None = None) -> costs.Cost:
    return costs.Cost(EXPERIMENT, run, 1, flops, 2**30, flops / 1e12, "FLOP/s", measured)


def test_the_totals_of_the_budgets_add_up_to_the_grids() -> None:
    jobs = [job("2m", 1e15), job("2m.seed43", 2e15), job("20m", 7e15)]
    assert costs.table_of_budgets(jobs).splitlines() == [
        "budget  trainings  PFLOP  GiB  one by one  expected  measured  of",
        "2m              2      3    1    50.0 min  25.0 min         -   0",
        "20m             1      7    1       1.9 h     1.9 h         -   0",
    ]
    assert costs.totals(jobs, [2]) == ["total: 3 trainings, 10 PFLOP", "2 devices: 1.9 h"]


def test_the_measured_time_of_a_budget_is_the_median_of_its_records_and_says_how_many() -> None:
    jobs = [job("2m", 1e14, 90.0), job("2m.seed43", 1e14, 70.0), job("2m.seed44", 1e14, 4000.0)]
    _, line, unfinished = costs.table_of_budgets([*jobs, job("20m", 1e15)]).splitlines()
    assert line.endswith("90 s   3")
    assert unfinished.endswith("-   0")


def test_an_impossible_speed_or_count_is_refused() -> None:
    with pytest.raises(UserError, match="--device-flops: got 0"):
        plan.main(["--device-flops", "0"])
    with pytest.raises(UserError, match="--gpus: got 0"):
        plan.main(["--gpus", "0"])

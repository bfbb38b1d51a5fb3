"""`predict` forecasts the latest registered days, with networks that were trained for them."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scaling import predict
from scaling.errors import UserError
from scaling.judging.forecast import days_asked_about
from scaling.metrics import fit_recalibration, log_loss_skill
from scaling.record import read_json
from scaling.training import checkpoint
from tests.trained_study import (
    FIRST,
    PRICES,
    RUNS,
    SECOND,
    build_features,
    changed_record,
    register_prices,
    write_config,
)


def with_newer_days(prices: pd.DataFrame, days: int = 30) -> pd.DataFrame:
    newer = prices.iloc[-days:].copy()
    newer.index = pd.bdate_range(prices.index[-1], periods=days + 1, name="date", unit="us")[1:]
    return pd.concat([prices, newer])


Ask = Callable[..., Any]


@pytest.fixture
def forecast(study: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Asks a network, the first one unless others are named, and gives back what it forecasts."""

    def ask(*options: str, checkpoints: Sequence[str] = (FIRST,)) -> Any:
        capsys.readouterr()
        predict.main(["--json", "--checkpoint", *checkpoints, *options])
        return json.loads(capsys.readouterr().out)

    return ask


def test_the_forecasts_of_past_days_are_those_of_the_evaluation(forecast: Ask) -> None:
    found = forecast("--last", "200")
    rows = pd.read_parquet("results/1k.predictions.parquet")
    rows = rows[(rows["weights"] == "mean") & (rows["split"] == "test")].set_index("date")["p"]
    said = {pd.Timestamp(day["close_of"]): day["probability"] for day in found["days"]}
    both = rows.index.intersection(list(said))
    assert len(both) > 150
    assert [said[day] for day in both] == pytest.approx(rows[both].tolist(), abs=1e-6)


def test_the_latest_day_has_a_forecast_about_the_day_after_it(forecast: Ask) -> None:
    last, before = pd.read_parquet(PRICES).index[[-1, -2]].strftime("%Y-%m-%d")
    found = forecast("--last", "2")
    assert [day["close_of"] for day in found["days"]] == [before, last]
    assert [day["about"] for day in found["days"]] == [last, f"the trading day after {last}"]


def test_the_days_asked_about_are_named_as_far_as_they_are_known() -> None:
    dates = np.array(["2020-03-03", "2020-03-04", "2020-03-05", "2020-03-06"], "datetime64[D]")
    about = [days_asked_about(dates, row, 2) for row in range(4)]
    assert about == [
        "2020-03-04 to 2020-03-05",
        "2020-03-05 to 2020-03-06",
        "2020-03-06 and the trading day after it",
        "the 2 trading days after 2020-03-06",
    ]


def test_several_seeds_forecast_their_mean_recalibrated_by_their_mean_on_validation(
    forecast: Ask,
) -> None:
    found = forecast("--last", "5", checkpoints=(SECOND, FIRST))
    assert found["seeds"] == [1, 2]
    for day in found["days"]:
        assert day["probability"] == pytest.approx((day["seed_1"] + day["seed_2"]) / 2)
        assert day["seed_1"] != day["seed_2"]
    rows = pd.concat(pd.read_parquet(f"results/{run}.predictions.parquet") for run in RUNS)
    rows = rows[(rows["weights"] == "mean") & (rows["split"] == "validation")]
    mean = rows.groupby("date").agg(y=("y", "first"), p=("p", "mean"))
    recalibration = fit_recalibration(mean["y"], mean["p"])
    said = found["validation"]["recalibration"]
    assert said["slope"] == pytest.approx(recalibration.slope, rel=1e-3)
    assert found["days"][0]["recalibrated"] == pytest.approx(
        float(recalibration([found["days"][0]["probability"]])[0]), abs=1e-4
    )
    skill = log_loss_skill(mean["y"], mean["p"], found["base_rate"])
    assert found["validation"]["log_loss_skill"] == pytest.approx(skill, abs=1e-5)
    assert found["base_rate"] == read_json("results/1k.json")["train_base_rate"]


def test_a_day_that_the_network_was_chosen_on_is_marked(forecast: Ask) -> None:
    found = forecast("--last", "300")
    last_chosen = read_json("results/1k.json")["identity"]["settings"]["splits"]["validation"][1]
    marked = [day["close_of"] for day in found["days"] if day["answer_seen_in_training"]]
    assert marked
    assert max(marked) <= last_chosen
    assert min(d["close_of"] for d in found["days"] if d["close_of"] not in marked) > last_chosen


def test_the_readable_form_has_one_line_for_each_day_and_the_csv_one_row(
    forecast: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    found = forecast("--last", "3")
    predict.main(["--checkpoint", FIRST, "--last", "3"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 3
    for line, day in zip(lines[2:], found["days"], strict=True):
        assert line.startswith(f"at the close of {day['close_of']}, for {day['about']}: ")
        assert f"base rate {100 * found['base_rate']:.1f} %" in line
    predict.main(["--checkpoint", FIRST, "--last", "3", "--csv"])
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert table["probability"].tolist() == [day["probability"] for day in found["days"]]


def test_newer_days_are_forecast_and_change_no_earlier_forecast(forecast: Ask) -> None:
    before = forecast()
    register_prices(with_newer_days(pd.read_parquet(PRICES)))
    build_features()
    after = forecast("--last", "31")
    assert [made["newer_prices_than_in_training"] for made in (before, after)] == [False, True]
    assert after["days"][0]["close_of"] == before["days"][0]["close_of"]
    assert after["days"][0]["probability"] == pytest.approx(before["days"][0]["probability"])
    assert after["days"][-1]["close_of"] == str(pd.read_parquet(PRICES).index[-1].date())


def test_newer_prices_without_new_features_are_refused(study: Path) -> None:
    register_prices(with_newer_days(pd.read_parquet(PRICES)))
    with pytest.raises(UserError, match="built from other prices.*snakemake --force"):
        predict.main(["--checkpoint", FIRST])


@pytest.mark.parametrize("row", [400, 850], ids=["training", "validation"])
def test_a_cent_more_in_one_close_of_the_training_is_refused(study: Path, row: int) -> None:
    prices = with_newer_days(pd.read_parquet(PRICES))
    prices.iloc[row, prices.columns.get_loc("close")] += 0.01
    prices["high"] = np.maximum(prices["high"], prices["close"])
    register_prices(prices)
    build_features()
    with pytest.raises(UserError, match="may only have days added"):
        predict.main(["--checkpoint", FIRST])


def test_a_day_left_out_of_the_training_days_is_refused(study: Path) -> None:
    prices = pd.read_parquet(PRICES)
    register_prices(with_newer_days(prices.drop(prices.index[500])))
    build_features()
    with pytest.raises(UserError, match="other labels or days"):
        predict.main(["--checkpoint", FIRST])


def test_another_config_is_refused(study: Path) -> None:
    write_config(task={"threshold": 0.02, "horizon": 1})
    with pytest.raises(UserError, match="task.threshold is 0.01, not 0.02"):
        predict.main(["--checkpoint", FIRST])
    with pytest.raises(UserError, match="name the networks' experiment with --config"):
        predict.main(["--checkpoint", FIRST, "--config", "configs/daily/none.yaml"])


def other_experiment(record: dict[str, Any]) -> None:
    record["experiment"] = record["identity"]["experiment"] = "daily/other"


def other_budget(record: dict[str, Any]) -> None:
    record["run"] = record["budget"] = record["identity"]["name"]["budget"] = "2k"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (other_experiment, "experiment is daily/other, not daily/tiny; an ensemble is made"),
        (other_budget, "budget is 2k, not 1k; an ensemble is made of seeds"),
        (lambda record: record.update(seed=1), "seed 1 is given twice"),
    ],
)
def test_checkpoints_that_are_no_ensemble_are_refused(
    study: Path, change: Callable[[dict[str, Any]], None], match: str
) -> None:
    with pytest.raises(UserError, match=match):
        predict.main(["--checkpoint", FIRST, changed_record(change)])


def test_a_file_that_holds_no_finished_training_is_refused(study: Path) -> None:
    content = checkpoint.load(FIRST)
    checkpoint.save("results/state.ckpt", {"weights": content["weights"]})
    with pytest.raises(UserError, match="no normaliser and no record"):
        predict.main(["--checkpoint", "results/state.ckpt"])


def test_weights_that_do_not_give_the_recorded_validation_loss_are_refused(study: Path) -> None:
    content = checkpoint.load(FIRST)
    content["weights"] = {name: 1.5 * value for name, value in content["weights"].items()}
    checkpoint.save("results/scaled.ckpt", content)
    with pytest.raises(UserError, match="validation log-loss"):
        predict.main(["--checkpoint", "results/scaled.ckpt"])


@pytest.mark.parametrize("last", ["0", "-3", "100000"])
def test_more_days_than_there_are_windows_are_refused(study: Path, last: str) -> None:
    with pytest.raises(UserError, match="--last: got"):
        predict.main(["--checkpoint", FIRST, "--last", last])

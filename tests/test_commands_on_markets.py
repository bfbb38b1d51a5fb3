"""Commands on a study of several markets: each one works, or refuses it in one line."""

import contextlib
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scaling import check_data, export, judge_baselines, predict, prepare
from scaling.config import load_config
from scaling.data.dataset import load_study
from scaling.data.manifest import register
from scaling.errors import UserError
from scaling.judging import baselines
from scaling.metrics import score
from scaling.record import file_md5, read_json, write_parquet
from scaling.training.cost import epoch_windows
from tests.conftest import random_prices
from tests.trained_study import CONFIG, evaluate_it, train_it, write_config

JUDGED = {"one": ["SPY"], "both": ["SPY", "XYZ"]}


def asks_for(study: str) -> None:
    write_config(data={"assets": ["SPY", "XYZ"], "judged": JUDGED[study]})


@pytest.fixture(scope="module")
def root(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two markets with calendars of their own, and a network trained for each of `JUDGED`."""
    root = Path(shutil.copytree(trained, tmp_path_factory.mktemp("markets") / "study"))
    with contextlib.chdir(root):
        prices, path = random_prices(rows=1100, seed=5), "data/raw/XYZ.parquet"
        write_parquet(path, prices)
        days = [str(prices.index[row].date()) for row in (0, -1)]
        facts = {"first_date": days[0], "last_date": days[1], "origin": "another walk"}
        register(path, "data/manifest.json", rows=len(prices), licence="MIT", **facts)
        built = "data/processed/v1/XYZ_features_a20.parquet"
        prepare.main(["--prices", path, "--manifest", "data/manifest.json", "--output", built])
        for study in JUDGED:
            asks_for(study)
            check_data.main(["--config", str(CONFIG), "--output", f"results/{study}/data.md5"])
            train_it(f"results/{study}/1k.ckpt")
            evaluate_it(f"results/{study}/1k.ckpt", f"{study}/1k")
    return root


@pytest.fixture(params=JUDGED)
def study(request: pytest.FixtureRequest, root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the two studies, with its config."""
    monkeypatch.chdir(root)
    asks_for(request.param)
    return str(request.param)


def test_the_stamp_covers_the_prices_and_the_features_of_all_markets(study: str) -> None:
    lines = [line.split() for line in Path(f"results/{study}/data.md5").read_text().splitlines()]
    assert len(lines) == 4 and all(file_md5(path) == md5 for md5, path in lines)
    assert {Path(path).name[:3] for _, path in lines} == {"SPY", "XYZ"}


def test_the_record_names_the_prices_of_all_markets(study: str) -> None:
    made = read_json(f"results/{study}/1k.json")["identity"]
    assert made["prices"].split(", ") == [
        file_md5("data/raw/SPY.parquet"),
        file_md5("data/raw/XYZ.parquet"),
    ]
    assert made["settings"]["data"]["judged"] == JUDGED[study]


def test_all_checks_pass_and_those_of_a_market_bear_its_name(study: str) -> None:
    checks = read_json(f"results/{study}/1k.eval.json")["checks"]
    names = [item["name"] for item in checks]
    assert all(item["passed"] for item in checks if item["name"] != "predictions vary"), checks
    for name in ("models do not see the future", "labels come from raw closes"):
        assert {f"{name} (SPY)", f"{name} (XYZ)"} <= set(names) and name not in names


def test_predictions_and_scores_are_of_each_judged_market(study: str) -> None:
    rows = pd.read_parquet(f"results/{study}/1k.predictions.parquet")
    assert sorted(rows["asset"].unique()) == JUDGED[study]
    best = rows[(rows["weights"] == "mean") & (rows["split"] == "test")]
    metrics: dict[str, Any] = read_json(f"results/{study}/1k.eval.json")["metrics"]["mean"]
    assert metrics["test"]["n"] == len(best)
    assert ("assets" in metrics) == (study == "both")
    for name, found in metrics.get("assets", {}).items():
        own = best[best["asset"] == name]
        expected = score(own["y"], own["p"], metrics["test"]["base_rate"])
        assert found["test"]["log_loss"] == pytest.approx(expected["log_loss"], rel=1e-12)
        assert found["test"]["n"] == len(own) < len(best)


def test_baselines_are_judged_on_the_same_rows(study: str, tmp_path: Path, few_trees: None) -> None:
    files = [tmp_path / "rows.parquet", tmp_path / "baselines.json"]
    options = ["--config", str(CONFIG), "--predictions", str(files[0]), "--output", str(files[1])]
    judge_baselines.main(options)
    networks = pd.read_parquet(f"results/{study}/1k.predictions.parquet")
    networks = networks[networks["weights"] == "mean"]
    for _, rows in pd.read_parquet(files[0]).groupby("model"):
        for column in ("date", "asset", "split", "y"):
            assert (rows[column].to_numpy() == networks[column].to_numpy()).all()
    models = read_json(files[1])["models"]
    rate = read_json(f"results/{study}/1k.json")["train_base_rate"]
    assert models["base_rate"]["settings"]["base_rate"] == rate
    assert all(("assets" in model) == (study == "both") for model in models.values())
    assert (baselines.PER_MARKET in models) == (study == "both")


def test_the_days_that_were_trained_on_are_counted_as_dates(study: str) -> None:
    config = load_config(CONFIG)
    found = load_study(config)
    counted = found.counted["counted_days"]
    dates = [found.dates[found.of([name]).samples["train"]] for name in ("SPY", "XYZ")]
    assert counted == len(np.union1d(*dates)) < sum(map(len, dates))


def test_a_plan_counts_the_windows_of_all_markets(study: str) -> None:
    found = load_study(load_config(CONFIG))
    counts = len(found.samples["train"]), len(found.samples["validation"])
    assert epoch_windows(load_config(CONFIG)) == counts


def test_a_forecast_is_of_every_judged_market_and_its_latest_days(
    study: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--checkpoint", f"results/{study}/1k.ckpt", "--config", str(CONFIG), "--last", "50"]
    capsys.readouterr()
    predict.main([*command, "--csv"])
    made = pd.read_csv(io.StringIO(capsys.readouterr().out), parse_dates=["close_of"])
    assert ("asset" in made) == (study == "both")
    rows = pd.read_parquet(f"results/{study}/1k.predictions.parquet")
    rows = rows[(rows["weights"] == "mean") & (rows["split"] == "test")]
    for name in JUDGED[study]:
        own = (made[made["asset"] == name] if study == "both" else made).set_index("close_of")
        latest = pd.read_parquet(f"data/raw/{name}.parquet").index[-50:]
        assert own.index.tolist() == latest.tolist()
        judged = rows[rows["asset"] == name].set_index("date")["p"].iloc[-40:]
        assert own.loc[judged.index, "probability"].tolist() == pytest.approx(
            judged.tolist(), abs=1e-6
        )
    predict.main(command)
    lines = capsys.readouterr().out.splitlines()[2:]
    named = [f"{name}, " if study == "both" else "" for name in JUDGED[study] for _ in range(50)]
    assert [line.partition("at the close of ")[0] for line in lines] == named


def test_more_days_than_the_shortest_market_has_cannot_be_forecast(study: str) -> None:
    command = ["--checkpoint", f"results/{study}/1k.ckpt", "--config", str(CONFIG)]
    config = load_config(CONFIG)
    days = {m.name: len(pd.read_parquet(m.features)) for m in config.data.markets}
    allowed = min(days[name] for name in JUDGED[study]) - config.window.warmup
    with pytest.raises(UserError, match=f"allowed: 1 to {allowed}, "):
        predict.main([*command, "--last", str(allowed + 1)])


def test_an_export_names_the_prices_of_all_markets_and_where_they_come_from(
    study: str, tmp_path: Path
) -> None:
    export.main(["--checkpoint", f"results/{study}/1k.ckpt", "--to", str(tmp_path / "out")])
    card = (tmp_path / "out/README.md").read_text()
    assert "`data/raw/SPY.parquet`, `data/raw/XYZ.parquet`" in card
    assert "a random walk; another walk" in card and "One model on 2 markets" in card


def test_a_network_of_other_judged_markets_is_refused(study: str) -> None:
    other = next(name for name in JUDGED if name != study)
    with pytest.raises(UserError, match="data.judged is "):
        evaluate_it(f"results/{other}/1k.ckpt", "refused")

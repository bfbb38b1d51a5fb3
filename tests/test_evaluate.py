"""`evaluate` judges what was trained on what was asked, and refuses everything else."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from scaling import judge_baselines, shuffled_control
from scaling.config import as_dict, load_config
from scaling.data import features
from scaling.data.dataset import load_study
from scaling.digest import code_digest
from scaling.errors import UserError
from scaling.record import file_md5, read_json
from scaling.sizes import load_model_config
from scaling.training import checkpoint
from scaling.training.model import build_model, count_parameters
from tests.trained_study import (
    CONFIG,
    DAYS,
    EXPERIMENT,
    FIRST,
    changed_record,
    checks_of,
    evaluate_it,
    write_config,
)


def test_training_and_evaluation_give_the_same_numbers_on_the_same_rows(study: Path) -> None:
    record, evaluation = read_json("results/1k.json"), read_json("results/1k.eval.json")
    found = evaluation["metrics"]["mean"]["validation"]
    assert found["log_loss"] == pytest.approx(record["validation"]["log_loss"], abs=1e-6)
    assert found["log_loss_skill"] == pytest.approx(record["validation"]["skill"], abs=1e-6)


def test_a_sound_study_passes_every_check(study: Path) -> None:
    failed = [c for c in read_json("results/1k.eval.json")["checks"] if not c["passed"]]
    assert not failed


def test_predictions_hold_every_test_and_validation_day_once_per_weights(study: Path) -> None:
    rows = pd.read_parquet("results/1k.predictions.parquet")
    config = load_config(CONFIG)
    loaded = load_study(config, ("train", "validation", "test"))
    assert list(rows.columns) == [
        *("budget", "train_days", "draw", "seed", "counted_days", "counted_markets", "parameters"),
        *("date", "split", "weights", "y", "p"),
    ]
    assert set(rows["train_days"]) == {"all"}
    assert set(rows["counted_days"]) == {len(loaded.samples["train"])}
    assert not rows.duplicated(["date", "split", "weights"]).any()
    for block in ("validation", "test"):
        for weights in ("mean", "last"):
            part = rows[(rows["split"] == block) & (rows["weights"] == weights)]
            assert (part["date"].to_numpy() == loaded.dates[loaded.samples[block]]).all()
            assert (part["y"].to_numpy() == loaded.labels(block)).all()
    counted = count_parameters(build_model(load_model_config("1k"), config.window, 20))
    assert set(rows["parameters"]) == {counted}


def test_best_and_last_weights_are_both_judged_and_not_confused(study: Path) -> None:
    content = checkpoint.load(FIRST)
    swapped = {**content, "weights": content["last_weights"], "last_weights": content["weights"]}
    checkpoint.save("results/swapped.ckpt", swapped)
    metrics = read_json("results/1k.eval.json")["metrics"]
    other = evaluate_it("results/swapped.ckpt", "swapped")["metrics"]
    assert metrics["mean"] == other["last"]
    assert metrics["last"] == other["mean"]


def test_the_recalibration_is_fitted_without_test_labels(study: Path) -> None:
    from scaling.metrics import fit_recalibration, log_loss

    rows = pd.read_parquet("results/1k.predictions.parquet")
    rows = rows[rows["weights"] == "mean"]
    validation, test = rows[rows["split"] == "validation"], rows[rows["split"] == "test"]
    fitted = fit_recalibration(validation["y"], validation["p"])
    found = read_json("results/1k.eval.json")["metrics"]["mean"]["test_recalibrated"]
    assert found["log_loss"] == pytest.approx(log_loss(test["y"], fitted(test["p"])))


@pytest.mark.parametrize("key", ["labels", "prices", "features", "code"])
def test_a_checkpoint_of_other_data_or_labels_is_refused(study: Path, key: str) -> None:
    path = changed_record(lambda record: record["identity"].update({key: "0" * 16}))
    with pytest.raises(UserError, match=f"{key} is {'0' * 16}, not .*train it again"):
        evaluate_it(path, "refused")
    assert not Path("results/refused.eval.json").exists()
    assert not Path("results/refused.predictions.parquet").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"task": {"threshold": 0.01, "horizon": 3}},
        {"task": {"threshold": 0.02, "horizon": 1}},
        {"window": {"context_length": 16, "patch_length": 8, "warmup": 20}},
        {"splits": {**EXPERIMENT["splits"], "test": [DAYS[901], DAYS[-100]]}},
    ],
    ids=["horizon", "threshold", "warmup", "dates"],
)
def test_a_checkpoint_trained_for_another_question_is_refused(
    study: Path, changes: dict[str, Any]
) -> None:
    write_config(**changes)
    with pytest.raises(UserError, match=rf"1k.ckpt: {next(iter(changes))}\.\w+ is "):
        evaluate_it(name="refused")


def test_a_normaliser_of_other_rows_is_refused(study: Path) -> None:
    content = checkpoint.load(FIRST)
    content["normaliser"]["mean"] = content["normaliser"]["mean"] + 0.1
    checkpoint.save("results/shifted.ckpt", content)
    with pytest.raises(UserError, match="normaliser"):
        evaluate_it("results/shifted.ckpt", "refused")


def test_weights_of_another_architecture_are_refused_in_one_line(study: Path) -> None:
    content = checkpoint.load(FIRST)
    weights = dict(content["weights"])
    weights["renamed"] = weights.pop(next(iter(weights)))
    checkpoint.save("results/other.ckpt", {**content, "weights": weights})
    with pytest.raises(UserError, match="not those of the model") as caught:
        evaluate_it("results/other.ckpt", "refused")
    assert "\n" not in str(caught.value)


def test_a_second_sigmoid_fails_the_parity_check(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(logits: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(torch.sigmoid(logits))

    monkeypatch.setattr("scaling.training.step.probabilities", twice)
    evaluation = evaluate_it(name="twice")
    assert not checks_of(evaluation)["training and evaluation agree"]["passed"]


def test_a_collapsed_network_is_marked(study: Path) -> None:
    content = checkpoint.load(FIRST)
    weights = dict(content["weights"])
    head = [name for name in weights if name.startswith("head") and name.endswith("weight")]
    weights[head[-1]] = torch.zeros_like(weights[head[-1]])
    checkpoint.save("results/flat.ckpt", {**content, "weights": weights})
    assert not checks_of(evaluate_it("results/flat.ckpt", "flat"))["predictions vary"]["passed"]


def test_features_that_look_ahead_are_marked(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = features.build_features

    def leaking(prices: pd.DataFrame, tier: str, calendar: str) -> pd.DataFrame:
        built = honest(prices, tier, calendar)
        tomorrow = np.append(built["rsi_14"].to_numpy()[1:], 50.0)
        return built.assign(rsi_14=tomorrow)

    monkeypatch.setattr("scaling.judging.checks.build_features", leaking)
    found = checks_of(evaluate_it(name="leak"))["features do not see the future"]
    assert not found["passed"]
    assert "rsi_14" in found["found"]


def test_baselines_are_judged_on_the_very_days_and_labels_of_the_networks(
    study: Path, few_trees: None
) -> None:
    files = ["--predictions", "results/b.predictions.parquet", "--output", "results/b.json"]
    judge_baselines.main(["--config", str(CONFIG), *files])
    networks = pd.read_parquet("results/1k.predictions.parquet")
    networks = networks[networks["weights"] == "mean"].reset_index(drop=True)
    for _, rows in pd.read_parquet("results/b.predictions.parquet").groupby("model"):
        same = rows.reset_index(drop=True)[["date", "split", "y"]]
        pd.testing.assert_frame_equal(same, networks[["date", "split", "y"]])
    record, evaluation = read_json("results/b.json"), read_json("results/1k.eval.json")
    assert record["identity"]["labels"] == evaluation["identity"]["labels"]
    assert record["train_base_rate"] == evaluation["train_base_rate"]


def test_the_control_shuffles_training_labels_and_no_others(study: Path) -> None:
    loaded = load_study(load_config(CONFIG))
    shuffled = shuffled_control.with_shuffled_labels(loaded, seed=3)
    assert (shuffled.labels("train") != loaded.labels("train")).any()
    assert shuffled.labels("train").sum() == loaded.labels("train").sum()
    assert (shuffled.labels("validation") == loaded.labels("validation")).all()
    assert shuffled.dataset.labels is not loaded.dataset.labels


def test_the_control_trains_on_shuffled_labels_and_finds_no_skill(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shuffled_control, "PERMUTATIONS", 3)
    output = "results/1k.shuffled.json"
    search = Path("results/1k.batch_size.json")
    search.parent.mkdir(exist_ok=True)
    search.write_text('{"micro_batch": 16}')
    shuffled_control.main(
        ["--config", str(CONFIG), "--batch-size", str(search), "--output", output]
    )
    record = read_json(output)
    assert record["check"]["passed"] is not False
    assert f"over {shuffled_control.PERMUTATIONS} permutations" in record["check"]["found"]
    of_each_run = code_digest("train", family="patchtst")
    assert record["identity"]["code"] == of_each_run
    assert record["identity"]["settings"]["optimiser"] == as_dict(load_config(CONFIG).optimiser)
    assert len(set(record["validation_skills"])) == shuffled_control.PERMUTATIONS


def test_an_evaluation_names_the_files_that_it_read_and_wrote(study: Path) -> None:
    found = read_json("results/1k.eval.json")
    assert found["checkpoint_md5"] == file_md5(FIRST)
    assert found["predictions_md5"] == file_md5("results/1k.predictions.parquet")

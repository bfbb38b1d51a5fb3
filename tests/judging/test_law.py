"""The law: planted effects come back, absent ones do not, and what cannot be said is not said."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling import fit
from scaling.errors import UserError
from scaling.judging import curves, law
from scaling.judging.ladder import Ladder, read_ladder

ROOT = Path(__file__).parents[2]
SIZES = {"200k": 200_000, "600k": 600_000, "2m": 2_000_000}
FIVE = np.array([2e5, 6e5, 2e6, 2e7, 2e8])
BASE_RATE = 0.3


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def world(
    rng, slope=0.0, *, parameters=FIVE[:3], seeds=3, days=500, day=0.02, seed=0.003, both=0.02
):
    """Daily losses [seeds, days] per size: a trend in log N plus day, seed and mixed noise.

    The days' part depends on size (else it would cancel) and is autocorrelated.
    """

    def wandering():
        noise = rng.normal(size=days)
        for t in range(1, days):
            noise[t] = 0.3 * noise[t - 1] + np.sqrt(1 - 0.3**2) * noise[t]
        return noise

    x = np.log10(parameters) - np.log10(parameters).mean()
    shared, tilt = 0.5 * wandering(), day * wandering()
    return [
        0.6
        + shared
        + at * (slope + tilt)
        + seed * rng.normal(size=(seeds, 1))
        + both * rng.normal(size=(seeds, days))
        for at in x
    ]


def slope_of(losses, parameters=FIVE[:3], samples=500, horizon=1):
    weights = law.slope_weights(parameters)[None]
    (effect,), _, means = law.effects(losses, weights, horizon=horizon, samples=samples)
    return effect, means


def ladder(losses, parameters=FIVE[:3], **changes):
    n_days = losses[0].shape[1]
    y = (np.random.default_rng(3).random(n_days) < BASE_RATE).astype(np.int64)
    return Ladder(
        budgets=[f"{n:g}" for n in parameters],
        parameters=np.asarray(parameters, float),
        seeds=[list(range(len(loss))) for loss in losses],
        losses=losses,
        validation=[float(loss.mean()) for loss in losses],
        dates=pd.bdate_range("2014-01-01", periods=n_days),
        y=y,
        base_rate=BASE_RATE,
        baselines={"base_rate": np.full(n_days, 0.62)},
    )._replace(**changes)


def fitted(losses, parameters=FIVE[:3], **changes):
    return law.fit_law(ladder(losses, parameters, **changes), horizon=1, delta=0.01, samples=300)


# --- the slope and its interval


def test_a_planted_slope_is_recovered_within_its_interval():
    effect, _ = slope_of(world(np.random.default_rng(1), slope=-0.01, days=1500))
    low, high = effect.interval(0.95)
    assert low < -0.01 < high < 0
    assert effect.estimate == pytest.approx(-0.01, abs=0.005)


def test_slope_weights_are_least_squares_per_decade():
    loss = np.array([0.7, 0.66, 0.61, 0.6, 0.55])
    expected = np.polyfit(np.log10(FIVE), loss, 1)[0]
    assert law.slope_weights(FIVE) @ loss == pytest.approx(expected)


def test_noise_of_days_that_all_models_share_does_not_widen_the_slope():
    losses = world(np.random.default_rng(2))
    storm = np.random.default_rng(9).normal(0, 5, losses[0].shape[1])
    calm, stormy = slope_of(losses)[0], slope_of([loss + storm for loss in losses])[0]
    assert stormy.interval(0.95) == pytest.approx(calm.interval(0.95), abs=1e-9)


def test_seeds_that_disagree_widen_the_interval_and_the_days_alone_do_not_show_it():
    losses = world(np.random.default_rng(2), seed=0)
    apart = [loss + np.array([[-0.05], [0.0], [0.05]]) for loss in losses]
    together, spread = slope_of(losses)[0], slope_of(apart)[0]
    assert np.ptp(spread.interval(0.95)) > 5 * np.ptp(together.interval(0.95))
    assert spread.day_variance == pytest.approx(together.day_variance)


def test_the_draws_agree_with_the_sum_of_variances_when_both_sources_matter():
    effect, _ = slope_of(world(np.random.default_rng(4), seeds=5, seed=0.003), samples=2000)
    assert effect.draws.std() == pytest.approx(effect.error, rel=0.25)


def test_the_same_rows_give_the_same_interval_twice():
    losses = world(np.random.default_rng(5))
    assert slope_of(losses)[0].interval(0.95) == slope_of(losses)[0].interval(0.95)


@pytest.mark.slow
def test_in_a_world_without_effect_the_interval_covers_and_improvement_is_not_invented():
    covered, by_days_alone, improves, bent = [], [], [], []
    for number in range(250):
        losses = world(np.random.default_rng(1000 + number))
        effect, means = slope_of(losses)
        low, high = effect.interval(0.95)
        covered.append(low < 0 < high)
        half = 1.96 * np.sqrt(effect.day_variance)
        by_days_alone.append(abs(effect.estimate) < half)
        improves.append(law.verdict(effect, 0.006, replicated=True) == "improves")
        loss = np.array([size.mean() for size in losses])
        shapes = curves.compare_shapes(FIVE[:3], loss, np.cov(means), effect.freedom, False)
        bent.append(shapes["preferred"] != "constant")
    assert 0.90 <= np.mean(covered) <= 0.98
    assert np.mean(improves) < 0.05
    assert np.mean(bent) < 0.10
    assert np.mean(by_days_alone) < 0.85, "the simulation must be able to fail an interval"


@pytest.mark.slow
def test_the_interval_covers_when_three_seeds_are_nearly_all_of_the_noise():
    covered = []
    for number in range(250):
        noisy = world(np.random.default_rng(number), seed=0.01, both=0.0, day=0.005, days=300)
        low, high = slope_of(noisy)[0].interval(0.95)
        covered.append(low < 0 < high)
    assert 0.90 <= np.mean(covered) <= 0.98


def test_blocks_are_no_shorter_than_the_horizon_and_grow_with_memory():
    rng = np.random.default_rng(6)
    white = rng.normal(size=(1, 1000))
    slow = np.cumsum(white, axis=1) - 0.97 * np.r_[0, np.cumsum(white)[:-1]]
    for t in range(1, 1000):
        slow[0, t] = 0.95 * slow[0, t - 1] + white[0, t]
    assert law.block_length(white, horizon=1) == 10
    assert law.block_length(white, horizon=40) == 40
    assert law.block_length(slow, horizon=1) > 20
    assert law.block_length(np.zeros((1, 1000)), horizon=1) == 10


def test_each_resample_of_days_keeps_the_number_of_days_and_their_neighbourhood():
    weights = law.day_weights(500, block=20, samples=50, seed=1)
    assert weights.sum(axis=1) == pytest.approx(np.ones(50))
    drawn = weights > 0
    together = (drawn[:, 1:] & drawn[:, :-1]).sum() / drawn[:, :-1].sum()
    assert together > 0.9


def test_holm_steps_down_and_never_reorders():
    assert law.holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert law.holm([0.9, 0.8]) == [1.0, 1.0]


# --- the verdict


def test_a_clear_fall_improves_and_a_clear_rise_is_inverse_scaling():
    rng = np.random.default_rng(7)
    assert fitted(world(rng, slope=-0.02))["verdict"] == "improves"
    assert fitted(world(rng, slope=+0.02))["verdict"] == "inverse scaling"


def test_a_real_effect_smaller_than_delta_is_said_to_be_small():
    result = fitted(world(np.random.default_rng(8), slope=-0.002, day=1e-3, seed=1e-4, both=1e-3))
    assert result["verdict"] == "improves"
    assert "though by less than the 0.0061 set in advance" in result["sentence"]
    assert "falls by 0.002" in result["sentence"]


def test_a_precise_nothing_is_equivalent_and_a_vague_one_is_inconclusive():
    precise = fitted(world(np.random.default_rng(8), day=1e-3, seed=1e-4, both=1e-3))
    vague = fitted(world(np.random.default_rng(8), day=0.1, seed=0.02))
    assert precise["verdict"] == "equivalent to no effect"
    assert precise["smallest_detectable_effect"] < precise["delta"]
    assert vague["verdict"] == "inconclusive"
    assert vague["smallest_detectable_effect"] > vague["delta"]
    assert "would probably have been missed, and seeing 0.0061 takes" in vague["sentence"]


def test_one_seed_in_any_size_is_a_warning_and_never_more_than_inconclusive():
    losses = world(np.random.default_rng(9), slope=-0.05)
    result = fitted([losses[0], losses[1], losses[2][:1]])
    assert result["verdict"] == "inconclusive"
    assert "one seed only for 2e+06" in result["warnings"][0]
    assert result["seeds_needed"] is None
    assert "a size has one seed only" in result["sentence"]
    assert result["best_network"]["against"]["base_rate"]["verdict"] == "cannot be told apart"


def test_delta_is_a_fraction_of_the_entropy_of_the_training_base_rate():
    result = fitted(world(np.random.default_rng(10)))
    entropy = -0.3 * np.log(0.3) - 0.7 * np.log(0.7)
    assert result["delta"] == pytest.approx(0.01 * entropy)


def effect_with(day_variance, seed_variance):
    return law.Effect(0.0, np.zeros(1), day_variance, seed_variance, freedom=1e9)


def test_twice_the_days_are_asked_for_when_the_days_variance_is_twice_what_delta_allows():
    allowed = (0.006 / 2.8016) ** 2
    needs = law.sensitivity(effect_with(2 * allowed, 0.0), 0.006, days=1000, seeds=3)
    assert needs["days_needed"] == pytest.approx(2000, abs=2)
    assert needs["seeds_needed"] is None
    needs = law.sensitivity(effect_with(allowed / 2, 1.0001 * allowed), 0.006, days=1000, seeds=3)
    assert (needs["days_needed"], needs["seeds_needed"]) == (None, 7)
    assert "spread between seeds" in needs["days_needed_note"]


def test_a_slope_among_models_worse_than_the_base_rate_is_not_sold_as_predictive_power():
    losses = [loss + 0.5 for loss in world(np.random.default_rng(11), slope=-0.03)]
    result = fitted(losses)
    assert any("no size beats" in warning for warning in result["warnings"])
    assert "no size beats the base rate" in result["sentence"]


def test_few_independent_blocks_are_said():
    result = fitted(world(np.random.default_rng(12), days=120))
    assert any("12 independent blocks of 10" in warning for warning in result["warnings"])


def test_contrasts_are_paired_by_day_and_adjusted_over_all_pairs():
    result = fitted(world(np.random.default_rng(13), slope=-0.02))
    pairs = [(c["smaller"], c["larger"]) for c in result["contrasts"]]
    assert pairs == [("200000", "600000"), ("200000", "2e+06"), ("600000", "2e+06")]
    assert all(c["p_holm"] >= c["p_value"] for c in result["contrasts"])
    assert np.ptp(result["contrasts"][0]["interval95"]) < 0.1 * 1.0
    sizes = {size["budget"]: size["log_loss"] for size in result["sizes"]}
    first = result["contrasts"][0]
    assert first["difference"] == pytest.approx(sizes["600000"] - sizes["200000"])


def test_a_study_of_three_sizes_gets_no_exponent_however_steep():
    result = fitted(world(np.random.default_rng(17), slope=-0.05))
    assert result["verdict"] == "improves"
    assert result["models_compared"]["power_law"]["alpha"] is None


# --- the best network and the baselines


def test_the_best_network_is_the_one_validation_prefers_even_if_test_does_not():
    losses = world(np.random.default_rng(14), slope=-0.05)
    result = fitted(losses, validation=[0.1, 0.2, 0.3])
    assert result["best_network"]["budget"] == "200000"


def test_the_best_network_beats_a_worse_baseline_and_is_not_told_from_an_equal_one():
    losses = world(np.random.default_rng(15))
    network = losses[0].mean(axis=0)
    wobble = np.random.default_rng(16).normal(0, 0.05, network.size)
    baselines = {"worse": network + 0.1, "equal": network + wobble, "better": network - 0.1}
    result = fitted(losses, validation=[0.1, 0.2, 0.3], baselines=baselines)
    found = {name: row["verdict"] for name, row in result["best_network"]["against"].items()}
    assert found == {
        "worse": "beats it",
        "equal": "cannot be told apart",
        "better": "loses to it",
    }
    assert "beats worse, loses to better, cannot be told apart from equal" in result["sentence"]


# --- reading a study


def study(days=260, seeds=(42, 43), sizes=SIZES):
    """Predictions and baselines in which larger networks see the truth through less noise."""
    rng = np.random.default_rng(20)
    dates = {
        "validation": pd.bdate_range("2012-01-02", periods=60),
        "test": pd.bdate_range("2014-01-02", periods=days),
    }
    networks, baselines = [], []
    for split, index in dates.items():
        truth = rng.normal(-1, 1.5, len(index))
        y = (rng.random(len(index)) < sigmoid(truth)).astype(np.int8)
        common = {"date": index, "split": split, "y": y}
        for noise, (budget, n) in zip((2.5, 1.2, 0.1), sizes.items(), strict=False):
            for seed in seeds:
                p = sigmoid(truth + rng.normal(0, noise, len(index)))
                for weights, q in (("best", p), ("last", 1 - p)):
                    row = {"budget": budget, "parameters": n, "seed": seed, "weights": weights}
                    networks.append(pd.DataFrame(common | row | {"p": q}))
        for model, p in (
            ("base_rate", np.full(len(index), BASE_RATE)),
            ("logistic_regression", sigmoid(truth)),
        ):
            baselines.append(pd.DataFrame(common | {"model": model, "p": p}))
    return pd.concat(networks, ignore_index=True), pd.concat(baselines, ignore_index=True)


def test_a_study_is_read_smallest_first_with_the_best_weights_and_the_training_base_rate():
    networks, baselines = study()
    found = read_ladder(networks.sample(frac=1, random_state=1), baselines)
    assert found.budgets == ["200k", "600k", "2m"]
    assert found.seeds == [[42, 43]] * 3
    assert found.base_rate == BASE_RATE
    assert found.losses[2].mean() < found.losses[0].mean() < 1.5
    assert found.dates.is_monotonic_increasing
    assert set(found.baselines) == {"base_rate", "logistic_regression"}


def is_run(rows, budget="2m", seed=43):
    return (rows["budget"] == budget) & (rows["seed"] == seed)


def one_day_missing(networks, baselines, split="test"):
    gone = networks[is_run(networks) & (networks["split"] == split)].index[-1]
    day = networks.loc[gone, "date"]
    return networks[~(is_run(networks) & (networks["date"] == day))], baselines


def other_label(networks, baselines):
    rows = networks[is_run(networks) & (networks["split"] == "test")].index[:1]
    changed = networks.copy()
    day = changed.loc[rows[0], "date"]
    changed.loc[is_run(changed) & (changed["date"] == day), "y"] = 1 - changed.loc[rows[0], "y"]
    return changed, baselines


def given_twice(networks, baselines):
    return pd.concat([networks, networks[is_run(networks)]]), baselines


def two_architectures(networks, baselines):
    return networks.assign(
        parameters=networks["parameters"].mask(is_run(networks), 6_400_000)
    ), baselines


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (one_day_missing, "2m seed 43 was judged on 259 test days and .* on 260"),
        (lambda n, b: one_day_missing(n, b, "validation"), "59 validation days"),
        (lambda n, b: (n, b[b["date"] != b["date"].max()]), "base_rate was judged on 259"),
        (other_label, "different labels"),
        (given_twice, "2m seed 43 has .* twice"),
        (lambda n, b: (n[n["budget"] == "2m"], b), "two or more different sizes"),
        (two_architectures, "2m stands for"),
        (lambda n, b: (n.assign(parameters=5), b), "two or more different sizes"),
        (lambda n, b: (n.assign(p=n["p"] * 4 - 2), b), r"outside \[0, 1\]"),
        (lambda n, b: (n.assign(p=n["p"].mask(n.index == 0)), b), r"outside \[0, 1\]"),
        (lambda n, b: (n.assign(y=n["y"] + 1), b), "labels other than"),
        (lambda n, b: (n.drop(columns="seed"), b), "no column seed"),
        (lambda n, b: (n[n["split"] == "test"], b), "no validation rows"),
        (lambda n, b: (n, b[b["model"] != "base_rate"]), "needed is one named base_rate"),
        (
            lambda n, b: (n, b.assign(p=sigmoid(b.index.to_numpy() / 1e3))),
            "always says the training",
        ),
        (lambda n, b: (n[:0], b), "no rows"),
    ],
    ids=[
        "days differ",
        "validation days differ",
        "baseline days differ",
        "labels differ",
        "a run twice",
        "one size",
        "one label, two counts",
        "two labels, one count",
        "logits",
        "NaN",
        "labels of 2",
        "no seed",
        "no validation",
        "no base rate",
        "a base rate that varies",
        "empty",
    ],
)
def test_a_study_whose_models_cannot_be_compared_is_refused(fault, message):
    with pytest.raises(UserError, match=message):
        read_ladder(*fault(*study()))


def test_networks_that_all_collapsed_to_the_base_rate_give_a_result_without_nan():
    networks, baselines = study(days=100)
    found = read_ladder(networks.assign(p=BASE_RATE), baselines)
    result = law.fit_law(found, horizon=1, delta=0.01, samples=200)
    json.dumps(result, allow_nan=False)
    assert result["verdict"] == "equivalent to no effect"
    assert result["sizes"][0]["skill"] == pytest.approx(0)
    assert "no size beats the base rate" in result["sentence"]


# --- the command


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    networks, baselines = study()
    config = tmp_path / "experiment.yaml"
    text = (ROOT / "configs/daily/threshold_1pct.yaml").read_text()
    config.write_text(text + "law:\n  delta: 0.02\n  bootstrap_samples: 250\n")
    paths = []
    for (budget, seed), rows in networks.groupby(["budget", "seed"]):
        paths.append(str(tmp_path / f"{budget}.seed{seed}.predictions.parquet"))
        rows.to_parquet(paths[-1])
    reference = tmp_path / "baselines.predictions.parquet"
    baselines.to_parquet(reference)
    return config, paths, reference, tmp_path / "scaling_law.json"


def command(config, paths, reference, output):
    study_flags = ["--config", str(config), "--predictions", *paths]
    return [*study_flags, "--baselines", str(reference), "--output", str(output)]


def test_the_command_writes_the_law_with_the_config_s_delta_and_what_it_was_made_of(files, capsys):
    fit.main(command(*files))
    result = json.loads(files[-1].read_text())
    assert (result["delta_fraction"], result["bootstrap_samples"]) == (0.02, 250)
    assert result["verdict"] == "improves"
    assert result["best_network"]["budget"] == "2m"
    assert len(result["inputs"]) == 7
    assert result["bootstrap_seed"] == law.BOOTSTRAP_SEED
    assert {"git_commit", "versions", "code_digest"} <= set(result)
    printed = capsys.readouterr().out
    assert result["sentence"] in printed
    assert printed.splitlines()[-1].startswith(f"Wrote {files[-1]}.")


def test_the_command_refuses_a_file_named_twice_and_leaves_no_output(files):
    config, paths, reference, output = files
    with pytest.raises(UserError, match="twice"):
        fit.main(command(config, [*paths, paths[0]], reference, output))
    assert not output.exists()


def test_the_command_refuses_rows_outside_the_config_s_test_block(files):
    config = files[0]
    config.write_text(config.read_text().replace("2014-01-01", "2015-01-01"))
    with pytest.raises(UserError, match="evaluate again with this config"):
        fit.main(command(*files))


def test_the_command_refuses_a_file_that_is_no_parquet(files):
    files[2].write_text("hello")
    with pytest.raises(UserError, match="not a parquet file"):
        fit.main(command(*files))


@pytest.mark.parametrize(
    "flags", [[], ["--table", "a.csv", "--config", "b.yaml"], ["--config", "b.yaml"]]
)
def test_the_command_wants_a_study_or_a_table_and_not_half_of_each(flags):
    with pytest.raises(UserError, match="--table alone"):
        fit.main([*flags, "--output", "law.json"])

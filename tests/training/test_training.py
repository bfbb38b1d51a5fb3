"""The training command and its loop, on a small study of real prices."""

import dataclasses
import itertools
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scaling.config import ThermalConfig, load_config
from scaling.data.dataset import Study, load_study
from scaling.errors import UserError
from scaling.machine.guard import ThermalGuard
from scaling.machine.processes import ALONE
from scaling.machine.sensors import Reading, Source
from scaling.metrics import log_loss
from scaling.sizes import OptimiserConfig, load_model_config
from scaling.training import checkpoint, step, trainer
from scaling.training.families.patchtst import EncoderLayer, PatchTST
from scaling.training.model import build_model
from scaling.training.trainer import Hardware, Recipe
from scaling.training.transfer import make_optimiser
from tests.miniature import build_features, make_miniature, run_here

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study with features built and no training done."""
    directory = make_miniature(tmp_path_factory.mktemp("miniature"))
    build_features(directory)
    return directory


@pytest.fixture
def inside(miniature: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory is the miniature."""
    monkeypatch.chdir(miniature)
    yield miniature


@pytest.fixture
def study(inside: Path) -> Study:
    """What the miniature's models may see."""
    return load_study(load_config("configs/daily/tiny.yaml"))


class Quiet:
    """A guard and a tracker that record what they are given and never interfere."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.stop_reason: str | None = None
        self.latest: Reading | None = None
        self.ids: dict[str, Any] = {}

    def wait_if_hot(self, interrupted: Any) -> float:
        return 0.0

    def log(self, metrics: dict[str, float], step: int) -> None:
        self.logged.append((step, metrics))


OPTIMISER = OptimiserConfig(
    batch_size=32,
    epochs=1,
    learning_rate=0.001,
    weight_decay=0.01,
    warmup_fraction=0.1,
    gradient_clip=1.0,
)


def fit(study: Study, directory: Path, **changes: Any) -> trainer.Outcome:
    """Train in this process; `changes` go to `trainer.train`."""
    quiet = Quiet()
    torch.manual_seed(42)
    config = load_config("configs/daily/tiny.yaml")
    shape = load_model_config("6k")
    model = build_model(shape, config.window, len(study.feature_names))
    recipe = Recipe(changes.pop("optimiser", OPTIMISER), 42, shape)
    precision, group = changes.pop("precision", "fp32"), changes.pop("group", ALONE)
    hardware = Hardware(CPU, precision, 32, group)
    store = checkpoint.ResumeStore(directory)
    given: dict[str, Any] = {"guard": quiet, "tracker": quiet, "store": store, **changes}
    return trainer.train(model, study, recipe, hardware, **given)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Equal to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_train_one_epoch_completes(study: Study, tmp_path: Path) -> None:
    outcome = fit(study, tmp_path)
    assert outcome.progress.windows == len(study.samples["train"])


def test_bf16_trains_and_its_forecasts_stay_near_those_of_fp32(
    study: Study, tmp_path: Path
) -> None:
    exact, coarse = (
        fit(study, tmp_path / precision, precision=precision).validation["log_loss"]
        for precision in ("fp32", "bf16")
    )
    assert coarse != exact
    assert coarse == pytest.approx(exact, rel=0.05)


def test_train_logs_metrics(study: Study, tmp_path: Path) -> None:
    tracker = Quiet()
    fit(study, tmp_path, tracker=tracker)
    losses = [(at, m["loss"]) for at, m in tracker.logged if "loss" in m]
    assert [at for at, _ in losses] == list(range(1, len(losses) + 1))
    assert all(np.isfinite(loss) for _, loss in losses)
    assert "val_log_loss" in tracker.logged[-1][1]


def test_the_temperature_goes_to_the_trackers_and_no_sensor_logs_none(
    study: Study, tmp_path: Path
) -> None:
    warm, blind = Quiet(), Quiet()
    warm.latest = Reading(source="planted", celsius=61.5)
    fit(study, tmp_path / "warm", guard=warm, tracker=warm)
    fit(study, tmp_path / "blind", guard=blind, tracker=blind)
    assert warm.logged[-1][1]["celsius"] == 61.5
    assert "celsius" not in blind.logged[-1][1]


def test_reproducible_batch_with_fixed_seed(study: Study) -> None:
    first, again, other = (
        study.dataset.batch(step.sample_order(study.samples["train"], 1, seed)[0][:32])[0]
        for seed in (42, 42, 43)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_training_days_that_a_network_is_given_have_mean_0_and_deviation_1(
    study: Study, tmp_path: Path
) -> None:
    days = []

    def note(module: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
        if isinstance(module, PatchTST) and module.training:
            days.append(arguments[0][:, -1])

    with torch.nn.modules.module.register_module_forward_pre_hook(note):
        fit(study, tmp_path)
    std, mean = torch.std_mean(torch.cat(days), dim=0)
    # The normaliser's rows are these and those few that have no whole window before them.
    assert mean.abs().max() < 0.05
    assert (std - 1).abs().max() < 0.05


def test_the_micro_batch_changes_no_gradient_dropout_included(study: Study) -> None:
    """LayerNorm, not BatchNorm: how a batch is cut is hardware, what it teaches is science."""
    config = load_config("configs/daily/tiny.yaml")
    shape = dataclasses.replace(load_model_config("6k"), dropout=0.4)
    days = torch.from_numpy(study.samples["train"][:31])
    gradients = []
    for micro_batch in (4, 32):
        torch.manual_seed(0)
        model = build_model(shape, config.window, len(study.feature_names)).train()
        optimiser = make_optimiser(model, shape, OPTIMISER)
        step.optimiser_step(
            model,
            optimiser,
            study.dataset,
            days,
            micro_batch=micro_batch,
            precision="fp32",
            gradient_clip=1e9,
            seed=0,
            step=0,
        )
        gradients.append(
            torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        )
    error = (gradients[0] - gradients[1]).norm() / gradients[1].norm()
    assert error < 1e-5


def test_the_learning_rate_warms_up_peaks_and_ends_near_zero() -> None:
    rates = [step.learning_rate(taken, 100, 0.5, 0.1) for taken in range(100)]
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == rates[9] == rates[10] == 0.5
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001


def test_a_loss_that_is_not_a_number_stops_with_what_to_change(
    study: Study, tmp_path: Path
) -> None:
    unknown = study.dataset.to(CPU)
    unknown.features = torch.full_like(unknown.features, torch.nan)
    with pytest.raises(UserError, match="lower optimiser.learning_rate"):
        fit(dataclasses.replace(study, dataset=unknown), tmp_path)
    assert list(tmp_path.glob("*.state")) == []


def test_a_study_that_holds_test_days_is_not_trained_on(inside: Path, tmp_path: Path) -> None:
    config = load_config("configs/daily/tiny.yaml")
    with pytest.raises(UserError, match="training was given test; allowed: train and validation"):
        fit(load_study(config, ("train", "validation", "test")), tmp_path)


def test_test_days_under_another_blocks_name_are_noticed(inside: Path, tmp_path: Path) -> None:
    study = load_study(load_config("configs/daily/tiny.yaml"), ("train", "validation", "test"))
    kept = {block: study.samples[block] for block in ("train", "validation")}
    with pytest.raises(UserError, match="days after validation"):
        fit(dataclasses.replace(study, samples=kept), tmp_path)


def recorded(monkeypatch: pytest.MonkeyPatch, what: Callable[..., Any]) -> list[Any]:
    """`what` of the model, the days and the loss of every step that is taken from now on."""
    real, found = trainer.optimiser_step, []

    def watched(
        model: torch.nn.Module, optimiser: Any, dataset: Any, days: Any, **given: Any
    ) -> Any:
        loss, norm = real(model, optimiser, dataset, days, **given)
        found.append(what(model, days, loss))
        return loss, norm

    monkeypatch.setattr(trainer, "optimiser_step", watched)
    return found


def test_the_weights_left_behind_are_the_mean_over_the_last_quarter_of_the_schedule(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = recorded(
        monkeypatch, lambda model, *_: {k: v.clone() for k, v in model.state_dict().items()}
    )
    outcome = fit(study, tmp_path, optimiser=dataclasses.replace(OPTIMISER, epochs=2))
    quarter = taken[-round(len(taken) / 4) :]
    for name, weight in outcome.weights.items():
        mean = torch.stack([weights[name] for weights in quarter]).double().mean(0)
        torch.testing.assert_close(weight.double(), mean, rtol=1e-5, atol=1e-6)
    assert same(outcome.last_weights, taken[-1])
    assert not same(outcome.weights, outcome.last_weights)


def test_what_is_said_of_validation_is_of_the_weights_left_behind(
    study: Study, tmp_path: Path
) -> None:
    outcome = fit(study, tmp_path, optimiser=dataclasses.replace(OPTIMISER, learning_rate=0.01))
    config, shape = load_config("configs/daily/tiny.yaml"), load_model_config("6k")
    model = build_model(shape, config.window, len(study.feature_names))
    model.load_state_dict(outcome.weights)
    p = step.predict(model, study.dataset, study.samples["validation"], CPU, "fp32")
    found = log_loss(study.labels("validation"), p)
    assert outcome.validation["log_loss"] == pytest.approx(found, rel=1e-6)
    assert found != pytest.approx(outcome.progress.looks[-1]["val_log_loss"], rel=1e-5)


def test_validation_is_looked_at_after_equal_ratios_of_steps_and_after_the_last() -> None:
    looks = trainer.look_steps(1600)
    assert looks[-1] == 1600 and looks[0] == 100
    assert all(b / a == pytest.approx(2**0.5, rel=0.01) for a, b in itertools.pairwise(looks))
    assert trainer.look_steps(1) == [1]


def test_no_two_epochs_see_the_days_in_the_same_order(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = recorded(monkeypatch, lambda _, days, __: days)
    fit(study, tmp_path, optimiser=dataclasses.replace(OPTIMISER, epochs=3))
    epochs = torch.cat(seen).view(3, -1)
    for one, other in itertools.combinations(epochs, 2):
        assert sorted(one.tolist()) == sorted(other.tolist()) == study.samples["train"].tolist()
        assert (one == other).float().mean() < 0.05


@pytest.mark.parametrize("own", [True, False], ids=["ours", "torch's"])
def test_every_step_drops_other_elements(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    """The weights stand still and every window is of one day, so that dropout alone is left."""
    if not own:
        monkeypatch.setattr(EncoderLayer, "drop", lambda *_: None)
    day = study.samples["train"][:1].repeat(32)
    one = dataclasses.replace(study, samples={**study.samples, "train": day})
    still = dataclasses.replace(OPTIMISER, epochs=12, learning_rate=1e-12, weight_decay=0.0)
    losses = recorded(monkeypatch, lambda *step: step[-1].item())
    fit(one, tmp_path, optimiser=still)
    assert len(set(losses)) == len(losses) == 12


def test_train_respects_thermal_stop(study: Study, tmp_path: Path) -> None:
    hot = Source("planted", lambda: Reading(source="planted", celsius=96.0))
    guard = ThermalGuard(ThermalConfig(), "cpu", sources=[hot])
    now = 0.0
    for _ in range(2):
        now += guard.poll_once(now)
    with pytest.raises(trainer.Stopped, match="96"):
        fit(study, tmp_path, guard=guard)
    assert len(list(tmp_path.glob("*.state"))) == 1


def train(directory: Path, *more: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """The command with what a user types after it."""
    asked = ("--config", "configs/daily/tiny.yaml", "--param-budget", "6k")
    return run_here(directory, "train", *asked, *more, check=check)


@pytest.fixture(scope="module")
def trained(miniature: Path) -> tuple[Path, str]:
    """The miniature after one training by hand, and what it printed."""
    return miniature, train(miniature).stderr


RUN = "results/daily/tiny/6k"


def test_train_saves_checkpoint(trained: tuple[Path, str]) -> None:
    directory, printed = trained
    content = checkpoint.load(directory / f"{RUN}.ckpt")
    record = checkpoint.record_of(content)
    assert record == {
        key: value
        for key, value in json.loads((directory / f"{RUN}.json").read_text()).items()
        if key != "tracking"
    }
    assert f"made {RUN}.ckpt" in printed
    assert "next: snakemake" in printed


def test_training_logs_data_version(trained: tuple[Path, str]) -> None:
    directory, _ = trained
    md5 = json.loads((directory / "data/manifest.json").read_text())["resources"][0]["hash"]
    record = json.loads((directory / f"{RUN}.json").read_text())
    assert md5 == f"md5:{record['identity']['prices']}"
    local = (directory / f"{RUN}.metrics.jsonl").read_text()
    assert record["identity"]["prices"] in local


def test_training_the_same_again_says_so_and_touches_nothing(trained: tuple[Path, str]) -> None:
    directory, _ = trained
    before = (directory / f"{RUN}.ckpt").stat().st_mtime_ns
    assert "is up to date" in train(directory).stderr
    assert (directory / f"{RUN}.ckpt").stat().st_mtime_ns == before


def test_the_commands_seed_changes_initial_weights_order_and_result(
    trained: tuple[Path, str],
) -> None:
    """One seed's training passed for another's, and an inconclusive study became "improves"."""
    directory, _ = trained
    train(directory, "--seed", "43")
    one, two = (checkpoint.load(directory / f"{RUN}{n}.ckpt") for n in ("", ".seed43"))
    records = [checkpoint.record_of(content) for content in (one, two)]
    for key in ("initial_weights", "sample_order"):
        assert records[0][key] != records[1][key]
    assert not same(one["weights"], two["weights"])


def test_the_record_tells_the_recipe_that_was_used(trained: tuple[Path, str]) -> None:
    record = json.loads((trained[0] / f"{RUN}.json").read_text())
    for name, used in record["used"].items():
        assert used == pytest.approx(record["identity"]["settings"]["optimiser"][name])


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line and exit code 2 of bad input."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    return lines[0]


def test_another_run_under_the_same_name_is_refused(trained: tuple[Path, str]) -> None:
    """Results that go by a name which two runs share overwrite each other."""
    directory, _ = trained
    before = (directory / f"{RUN}.ckpt").read_bytes()
    line = refused(train(directory, "--seed", "7", "--output", f"{RUN}.ckpt", check=False))
    assert "--overwrite" in line
    assert (directory / f"{RUN}.ckpt").read_bytes() == before


def test_training_verifies_manifest_before_start(trained: tuple[Path, str]) -> None:
    directory, _ = trained
    prices = directory / "data/raw/SPY.parquet"
    good = prices.read_bytes()
    try:
        prices.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        line = refused(train(directory, "--seed", "8", check=False))
        assert "data/raw/SPY.parquet" in line
        (directory / "data/manifest.json").rename(directory / "data/away.json")
        assert "manifest" in refused(train(directory, "--seed", "8", check=False))
    finally:
        prices.write_bytes(good)
        if (directory / "data/away.json").exists():
            (directory / "data/away.json").rename(directory / "data/manifest.json")
    assert not (directory / "results/daily/tiny/6k.seed8.ckpt").exists()


def test_an_unknown_budget_is_one_line(trained: tuple[Path, str]) -> None:
    assert "5m" in refused(train(trained[0], "--param-budget", "5m", check=False))

"""A second family: Hugging Face's own network, trained, resumed and judged like the first."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import PatchTSMixerForTimeSeriesClassification

from scaling.config import WindowConfig
from scaling.record import read_json
from scaling.sizes import FAMILIES, PatchTSMixerShape
from scaling.training import checkpoint
from scaling.training.families import family_of, patchtsmixer
from tests.miniature import EXPERIMENT, make_miniature, run

SHAPE = PatchTSMixerShape(d_model=24, layers=2, expansion_factor=2, dropout=0.1)
WINDOW = WindowConfig(16, 4, 15)
CHANNELS = 3
SHAPE_FILE = """\
d_model: {d_model}
layers: 2
expansion_factor: 2
dropout: 0.1
"""
# A training that is killed in the midst of its 40th step, 15 steps into the second epoch.
KILLED = """\
import os, signal, sys
from scaling.training import trainer
real, taken = trainer.optimiser_step, []
def step(*arguments, **options):
    taken.append(1)
    if len(taken) == 40:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **options)
trainer.optimiser_step = step
from scaling.train import main
main(sys.argv[1:])
"""


def network(seed: int = 1) -> patchtsmixer.PatchTSMixer:
    torch.manual_seed(seed)
    return patchtsmixer.build(SHAPE, WINDOW, CHANNELS)


def windows(samples: int = 5) -> torch.Tensor:
    return torch.randn(samples, WINDOW.context_length, CHANNELS)


def test_every_family_of_the_configs_has_a_module_of_its_name() -> None:
    for name in FAMILIES:
        family = family_of(name)
        assert all(hasattr(family, given) for given in ("build", "embedding", "multiply_adds"))


def test_a_training_imports_the_network_of_no_other_family() -> None:
    code = (
        "import sys; from scaling.training.families import family_of; family_of('patchtsmixer');"
        "sys.exit('transformers.models.patchtst.modeling_patchtst' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_patchtsmixer_is_hugging_faces_with_the_same_weights() -> None:
    ours, x = network().eval(), windows()
    theirs = PatchTSMixerForTimeSeriesClassification(ours.config).eval()
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(ours(x), theirs(past_values=x).prediction_outputs)


def test_patchtsmixer_reads_the_level_of_a_window() -> None:
    model, x = network().eval(), windows()
    assert not torch.allclose(model(x), model(x + 1.0))
    assert not torch.allclose(model(x), model(2.0 * x))


def test_patchtsmixer_treats_all_channels_alike_up_to_the_head() -> None:
    model, x = network().eval(), windows()
    order = torch.tensor([2, 0, 1])
    tokens = model.model(x).last_hidden_state
    assert torch.allclose(model.model(x[:, :, order]).last_hidden_state, tokens[:, order])


def test_a_window_of_patchtsmixer_is_judged_apart_from_the_others_of_its_batch() -> None:
    model, x = network().train(), windows()
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    torch.testing.assert_close(model(x)[:2], model(x[:2]), rtol=1e-5, atol=1e-6)


def test_every_weight_of_patchtsmixer_is_trained() -> None:
    model = network().train()
    model(windows()).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature with PatchTSMixer as its network, and its two budgets judged."""
    directory = make_miniature(tmp_path_factory.mktemp("mixer"))
    for budget, d_model in (("6k", 22), ("20k", 42)):
        path = directory / f"configs/model/patchtsmixer_{budget}.yaml"
        path.write_text(SHAPE_FILE.format(d_model=d_model))
    (directory / "configs/daily/tiny.yaml").write_text("family: patchtsmixer\n" + EXPERIMENT)
    grid = "experiments: [daily/tiny]\nbudgets: [6k, 20k]\nseeds: [42]\n"
    (directory / "configs/full.yaml").write_text(grid)
    run(directory, "snakemake", "results/daily/tiny/report.html")
    return directory


@pytest.mark.slow
def test_a_ladder_of_patchtsmixer_goes_from_prices_to_the_report(study: Path) -> None:
    results = study / "results/daily/tiny"
    record = read_json(results / "20k.json")
    assert record["identity"]["settings"]["family"] == "patchtsmixer"
    assert record["identity"]["model"]["expansion_factor"] == 2
    assert record["flops"] > 0
    assert read_json(results / "20k.eval.json")["metrics"]["best"]["test"]["log_loss"] > 0
    assert len(read_json(results / "scaling_law.json")["ladder"]["cells"]) == 2


@pytest.mark.slow
def test_a_killed_training_of_patchtsmixer_ends_with_the_same_bits(study: Path) -> None:
    asked = ("--config", "configs/daily/tiny.yaml", "--param-budget", "20k", "--threads", "1")
    again = (
        *asked,
        "--output",
        "again.ckpt",
        "--batch-size",
        "results/daily/tiny/20k.batch_size.json",
    )
    assert run(study, sys.executable, "-c", KILLED, *again, check=False).returncode == -9
    assert "resumed at step 25" in run(study, "python", "-m", "scaling.train", *again).stderr
    first, second = (
        checkpoint.load(study / name) for name in ("results/daily/tiny/20k.ckpt", "again.ckpt")
    )
    for weights in ("weights", "last_weights"):
        for name, value in first[weights].items():
            assert torch.equal(value, second[weights][name]), name


@pytest.mark.slow
def test_two_processes_train_patchtsmixer_to_the_weights_of_one(study: Path) -> None:
    shape = study / "configs/model/patchtsmixer_6k.yaml"
    text = shape.read_text()
    shape.write_text(text.replace("dropout: 0.1", "dropout: 0.0"))  # it differs between the two
    pair = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    asked = ("--config", "configs/daily/tiny.yaml", "--param-budget", "6k", "--threads", "1")
    found = {}
    for name, launcher, more in (("one", (), ()), ("two", pair, ()), ("shard", pair, ("--shard",))):
        output = ("--output", f"{name}.ckpt", *more)
        run(study, sys.executable, *launcher, "-m", "scaling.train", *asked, *output)
        found[name] = checkpoint.load(study / f"{name}.ckpt")["last_weights"]
    shape.write_text(text)
    for weights in (found["two"], found["shard"]):
        for name, value in found["one"].items():
            torch.testing.assert_close(weights[name], value, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_weights_of_another_family_are_refused(study: Path) -> None:
    config = study / "configs/daily/tiny.yaml"
    text = config.read_text()
    config.write_text(EXPERIMENT)
    judge = ("python", "-m", "scaling.evaluate", "--config", "configs/daily/tiny.yaml")
    paths = ("--predictions", "other.parquet", "--output", "other.json")
    checkpoint_file = ("--checkpoint", "results/daily/tiny/20k.ckpt")
    done = run(study, *judge, *checkpoint_file, *paths, check=False)
    config.write_text(text)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "family" in done.stderr

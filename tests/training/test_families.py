"""A second family: Hugging Face's own network, trained, resumed and judged like the first."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import PatchTSMixerForTimeSeriesClassification

from scaling.config import WindowConfig
from scaling.sizes import PatchTSMixerShape
from scaling.training import checkpoint
from scaling.training.families import patchtsmixer
from tests.miniature import EXPERIMENT, TOGETHER, build_features, make_miniature, run, run_here
from tests.training.test_resume import Killed, at_step, killed

SHAPE = PatchTSMixerShape(d_model=24, layers=2, expansion_factor=2, dropout=0.1)
WINDOW = WindowConfig(16, 4, 15)
CHANNELS = 3
SHAPE_FILE = """\
d_model: {d_model}
layers: 2
expansion_factor: 2
dropout: 0.1
"""


def network(seed: int = 1) -> patchtsmixer.PatchTSMixer:
    torch.manual_seed(seed)
    return patchtsmixer.build(SHAPE, WINDOW, CHANNELS)


def windows(samples: int = 5) -> torch.Tensor:
    return torch.randn(samples, WINDOW.context_length, CHANNELS)


@pytest.mark.slow
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
    """A miniature with features, whose network is PatchTSMixer; the smaller one has no dropout."""
    directory = make_miniature(tmp_path_factory.mktemp("mixer"))
    for budget, d_model in (("6k", 22), ("20k", 42)):
        path = directory / f"configs/model/patchtsmixer_{budget}.yaml"
        text = SHAPE_FILE.format(d_model=d_model)
        # Dropout differs between one process and two.
        path.write_text(text.replace("dropout: 0.1", "dropout: 0.0") if budget == "6k" else text)
    (directory / "configs/daily/tiny.yaml").write_text("family: patchtsmixer\n" + EXPERIMENT)
    build_features(directory)
    return directory


@pytest.mark.slow
def test_a_training_of_patchtsmixer_that_is_cut_off_in_an_epoch_ends_with_the_same_bits(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("--config", "configs/daily/tiny.yaml", "--param-budget", "20k", "--threads", "1")
    run_here(study, "train", *asked, "--output", "whole.ckpt")
    again = (*asked, "--output", "again.ckpt")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        at_step(patch, 40, killed)  # five steps after the look at the 35th
        run_here(study, "train", *again)
    assert "resumed at step 35" in run_here(study, "train", *again).stderr
    first, second = (checkpoint.load(study / name) for name in ("whole.ckpt", "again.ckpt"))
    for weights in ("weights", "last_weights"):
        for name, value in first[weights].items():
            assert torch.equal(value, second[weights][name]), name


@pytest.mark.slow
def test_two_processes_train_patchtsmixer_to_the_weights_of_one(study: Path) -> None:
    asked = ("--config", "configs/daily/tiny.yaml", "--param-budget", "6k", "--threads", "1")
    run_here(study, "train", *asked, "--output", "one.ckpt")
    for name, more in (("two", ()), ("shard", ("--shard",))):
        options = (*asked, "--output", f"{name}.ckpt", *more)
        run(study, *TOGETHER, "scaling.train", *options)
    found = {
        name: checkpoint.load(study / f"{name}.ckpt")["last_weights"]
        for name in ("one", "two", "shard")
    }
    for weights in (found["two"], found["shard"]):
        for name, value in found["one"].items():
            torch.testing.assert_close(weights[name], value, rtol=0, atol=1e-4)


def test_weights_of_another_family_are_refused(study: Path) -> None:
    of_mixer = ("--config", "configs/daily/tiny.yaml", "--param-budget", "6k", "--threads", "1")
    run_here(study, "train", *of_mixer, "--output", "mixer.ckpt")
    (study / "configs/daily/patches.yaml").write_text(EXPERIMENT)
    judge = ("--config", "configs/daily/patches.yaml", "--checkpoint", "mixer.ckpt")
    paths = ("--predictions", "other.parquet", "--output", "other.json")
    done = run_here(study, "evaluate", *judge, *paths, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: ") and "family" in done.stderr

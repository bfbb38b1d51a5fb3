"""`export` writes a folder that plain `transformers` loads, whole or not at all."""

import os
import re
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from scaling import export
from scaling.config import load_config
from scaling.data.dataset import load_study
from scaling.errors import UserError
from scaling.record import read_json, write_json
from scaling.sizes import load_model_config
from scaling.training import checkpoint
from scaling.training.model import build_model
from tests.miniature import run
from tests.trained_study import CONFIG, FIRST, changed_record, train_it, write_config

# The reader's side: the program on the card, which knows the folder and the raw features of one day
# after the other, and nothing of this project.
READER = """
import sys
import torch
answers = []
for features in torch.load("windows.pt"):
    {program}
    answers.append(logits)
torch.save(torch.cat(answers), "logits.pt")
assert not any(name.partition(".")[0] == "scaling" for name in sys.modules)
"""
MIXER = {"d_model": 20, "layers": 1, "expansion_factor": 1, "dropout": 0.0}


def export_it(folder: str = "exported/1k", path: str = FIRST) -> Path:
    export.main(["--checkpoint", path, "--to", folder])
    return Path(folder)


def card() -> str:
    """What an export says of the study's first network."""
    return (export_it() / "README.md").read_text()


def mixer() -> str:
    """The checkpoint of a PatchTSMixer that is trained in the study."""
    Path("configs/model/patchtsmixer_2k.yaml").write_text(yaml.safe_dump(MIXER))
    write_config(family="patchtsmixer", param_budget="2k")
    train_it("results/2k.ckpt")
    return "results/2k.ckpt"


@pytest.mark.slow
@pytest.mark.parametrize("family", ["patchtst", "patchtsmixer"])
def test_plain_transformers_gives_the_same_logits_from_raw_features_as_the_card_says(
    study: Path, tmp_path: Path, family: str
) -> None:
    path = FIRST if family == "patchtst" else mixer()
    folder = export_it(path=path).resolve()
    config = load_config(CONFIG)
    loaded = load_study(config)
    days = loaded.samples["validation"][:20]
    raw = [torch.tensor(loaded.raw_features[day - 15 : day + 1].tolist()) for day in days]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    torch.save(torch.stack(raw), elsewhere / "windows.pt")
    said = (folder / "README.md").read_text().replace("THIS FOLDER", str(folder))
    program = re.search(r"```python\n(.*?)```", said, re.S)
    assert program is not None
    reader = READER.format(program="\n    ".join(program[1].splitlines()))
    done = run(elsewhere, "python", "-c", reader)
    assert "newly initialized" not in done.stderr
    assert "not used" not in done.stderr

    shape = load_model_config(config.param_budget, config.family)
    model = build_model(shape, config.window, 20)
    model.load_state_dict(checkpoint.load(path)["weights"])
    with torch.no_grad():
        ours = model.eval()(loaded.dataset.windows(torch.from_numpy(days)))
    assert ours.std() > 0.01
    torch.testing.assert_close(torch.load(elsewhere / "logits.pt"), ours, atol=1e-5, rtol=1e-5)


def test_a_family_that_transformers_cannot_load_is_refused(study: Path) -> None:
    path = changed_record(lambda record: record["identity"]["settings"].update(family="mine"))
    with pytest.raises(UserError, match="is a mine; allowed: patchtst, patchtsmixer"):
        export_it(path=path)
    assert not Path("exported").exists()


def test_the_folder_holds_the_weights_the_normaliser_and_the_record(study: Path) -> None:
    folder = export_it()
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *("README.md", "config.json", "model.safetensors", "normaliser.json", "record.json"),
    }
    content = checkpoint.load(FIRST)
    stored = load_file(folder / "model.safetensors")
    assert all(torch.equal(value, content["weights"][name]) for name, value in stored.items())
    normaliser = read_json(folder / "normaliser.json")
    for name in ("mean", "std"):
        assert torch.equal(torch.tensor(normaliser[name]), content["normaliser"][name])
    assert normaliser["feature_names"] == checkpoint.record_of(content)["feature_names"]
    assert read_json(folder / "record.json")["training"] == checkpoint.record_of(content)


def test_the_card_gives_the_test_figures_of_the_evaluation_and_where_the_data_are_from(
    study: Path,
) -> None:
    said = card()
    evaluation = read_json("results/1k.eval.json")
    test = evaluation["metrics"]["mean"]["test"]
    assert f"| test | {test['n']} | {test['log_loss']:.4f} |" in said
    assert f"{evaluation['train_base_rate']:.4f}" in said
    assert evaluation["identity"]["prices"] in said
    assert "a random walk" in said
    assert "the close rises by 1 % or more within one day" in said
    assert "checks of the evaluation passed" in said
    assert "The prices: not stated in the manifest" in said


def test_a_card_without_an_evaluation_says_that_there_are_no_test_figures(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("results/1k.eval.json").unlink()
    said = card()
    assert "There are no test figures" in said
    assert "| test | 2" not in re.sub(r"\| test \| \d{4}-.*", "", said)
    assert "no test figures: there is no results/1k.eval.json" in capsys.readouterr().out


def test_failed_checks_stand_on_the_card(study: Path) -> None:
    evaluation = read_json("results/1k.eval.json")
    evaluation["checks"][0]["passed"] = False
    write_json("results/1k.eval.json", evaluation)
    said = card()
    assert f"**1 of {len(evaluation['checks'])} validity checks failed" in said
    assert evaluation["checks"][0]["name"] in said


def test_the_evaluation_of_another_training_is_refused(study: Path) -> None:
    write_json("results/1k.eval.json", read_json("results/1k.eval.json") | {"checkpoint_md5": "0"})
    with pytest.raises(UserError, match="not the file that was evaluated.*snakemake --force"):
        export_it()
    assert not Path("exported").exists()


def test_prices_that_the_manifest_no_longer_knows_have_no_licence_on_the_card(study: Path) -> None:
    manifest = read_json("data/manifest.json")
    manifest["resources"][0]["hash"] = f"md5:{'0' * 32}"
    write_json("data/manifest.json", manifest)
    assert "not known: data/manifest.json no longer registers" in card()


@pytest.mark.parametrize("what", ["empty", "foreign", "other"])
def test_an_existing_folder_that_is_no_export_of_the_checkpoint_is_refused(
    study: Path, what: str
) -> None:
    folder = Path("exported/1k")
    if what == "other":
        export_it(path=changed_record(lambda record: record.update(device_name="another")))
    else:
        folder.mkdir(parents=True)
    if what == "foreign":
        (folder / "record.json").write_text('["mine"]')
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match="exists and is no export of this checkpoint"):
        export_it()
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_second_export_renews_the_card_and_keeps_what_else_lies_there(study: Path) -> None:
    os.rename("results/1k.eval.json", "results/later.json")
    folder = export_it()
    (folder / "notes.txt").write_text("mine")
    os.rename("results/later.json", "results/1k.eval.json")
    assert "There are no test figures" not in card()
    assert (folder / "notes.txt").read_text() == "mine"


def test_an_export_that_fails_half_way_leaves_nothing(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("scaling.judging.hugging_face.model_card", full)
    with pytest.raises(OSError, match="No space left"):
        export_it()
    assert list(Path("exported").iterdir()) == []

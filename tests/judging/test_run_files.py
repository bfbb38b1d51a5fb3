"""A file's name, its content and the digests beside it must tell of one run."""

import json
from pathlib import Path

import pytest

from scaling import evaluate
from scaling.errors import UserError
from scaling.judging.run_files import run_in
from scaling.run import RunName
from scaling.training import checkpoint
from tests.figures.planted_study import planted

MADE = planted(RunName(budget="2m", seed=43))
SEED_43 = {**MADE.titles("2m.seed43"), "identity": MADE.as_json()}


def judge(path: Path) -> None:
    """Evaluate a checkpoint that holds the record of the run `2m.seed43`, and no tensors."""
    empty: dict[str, object] = {"weights": {}, "normaliser": {}}
    checkpoint.save(path, {**empty, "record": json.dumps(SEED_43)})
    flags = ["--config", "none.yaml", "--predictions", "p.parquet", "--output", "e.json"]
    evaluate.main([*flags, "--checkpoint", str(path)])


@pytest.mark.parametrize("name", ["2m.ckpt", "2m.seed44.ckpt", "20m.seed43.ckpt"])
def test_a_checkpoint_under_the_name_of_another_run_is_not_evaluated(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(UserError, match=f"{name}: holds the run 2m.seed43.*snakemake --force"):
        judge(tmp_path / name)


@pytest.mark.parametrize("name", ["2m.seed43.ckpt", "before.ckpt", "2m.old.ckpt"])
def test_its_own_name_and_a_name_that_promises_nothing_pass(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="none.yaml: no such file"):
        judge(tmp_path / name)


@pytest.mark.parametrize("odd", [{"budget": "600k"}, {"seed": 44}, {"run": "2m.seed44"}])
def test_a_run_that_is_not_its_budget_and_seed_is_refused(odd: dict[str, object]) -> None:
    (key, value) = next(iter(odd.items()))
    with pytest.raises(UserError, match=f"before.json: {key} is {value}, not .*make it again"):
        run_in({**SEED_43, **odd}, Path("before.json"))

"""A file's name, its content and the digests beside it must tell of one run."""

from pathlib import Path

import pytest

from scaling.errors import UserError
from scaling.judging.run_files import run_in
from scaling.run import RunName
from tests.figures.planted_study import planted

MADE = planted(RunName(budget="2m", seed=43))
SEED_43 = {**MADE.titles("2m.seed43"), "identity": MADE.as_json()}


@pytest.mark.parametrize("name", ["2m.ckpt", "2m.seed44.ckpt", "20m.seed43.eval.json"])
def test_a_file_under_the_name_of_another_run_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"{name}: holds the run 2m.seed43.*snakemake --force"):
        run_in(SEED_43, Path(name))


@pytest.mark.parametrize("name", ["2m.seed43.ckpt", "before.ckpt", "2m.old.ckpt"])
def test_its_own_name_and_a_name_that_promises_nothing_pass(name: str) -> None:
    assert run_in(SEED_43, Path(name)) == MADE


@pytest.mark.parametrize("odd", [{"budget": "600k"}, {"seed": 44}, {"run": "2m.seed44"}])
def test_a_run_that_is_not_its_budget_and_seed_is_refused(odd: dict[str, object]) -> None:
    ((key, value),) = odd.items()
    with pytest.raises(UserError, match=f"before.json: {key} is {value}, not .*make it again"):
        run_in({**SEED_43, **odd}, Path("before.json"))

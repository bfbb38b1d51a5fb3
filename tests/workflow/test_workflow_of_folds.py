"""The workflow on a walk of two folds, from prices to the page: real runs."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from scaling.judging.summary import read_summary
from scaling.record import read_json
from tests.conftest import MakeOnce
from tests.miniature import REPOSITORY, make_miniature, register, run
from tests.workflow.test_workflow import PRICES, planned, refused, replace, trainings

CONFIG = Path("configs/daily/walk.yaml")
RESULTS = "results/daily/walk"
WALK = """\
extends: daily/tiny.yaml
task: {threshold: 0.005}
walk_forward:
  first_test: 1996
  test_years: 1
  validation_years: 1
  train_years: 2
  min_samples: 100
"""
FOLDS = ("from1996", "from1997")
TARGETS = [
    f"{RESULTS}/{name}.predictions.parquet"
    for fold in FOLDS
    for name in (f"6k.{fold}", f"baselines.{fold}")
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def judged(make_once: MakeOnce) -> Path:
    """A miniature whose walk the workflow has trained and judged with one small network a fold."""

    def make(root: Path) -> None:
        make_miniature(root)
        (root / CONFIG).write_text(WALK)
        grid = "experiments: [daily/walk]\nbudgets: [6k, 20k]\nseeds: [42]\n"
        (root / "configs/full.yaml").write_text(grid)
        run(root, "snakemake", *TARGETS)

    return make_once("workflow-of-folds", make)


@pytest.fixture
def study(judged: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed at will; file times stay."""
    return Path(shutil.copytree(judged, tmp_path / "study"))


def test_every_fold_is_judged_on_its_own_year_and_another_run_does_nothing(judged: Path) -> None:
    for fold in FOLDS:
        year = int(fold.removeprefix("from"))
        for name in (f"6k.{fold}", f"baselines.{fold}"):
            rows = pd.read_parquet(judged / RESULTS / f"{name}.predictions.parquet")
            assert set(rows["origin"]) == {year}
            tested = rows.loc[rows["split"] == "test", "date"]
            assert set(tested.dt.year) == {year} and tested.nunique() > 240
    assert planned(judged, *TARGETS) == set()


def test_a_walk_ends_in_a_page_of_its_folds_and_is_published_with_the_slope_of_each(
    study: Path,
) -> None:
    run(study, "snakemake", f"{RESULTS}/report.html")
    page = (study / RESULTS / "report.html").read_text()
    assert "in 2 folds that were each trained on the years before" in page
    assert '<figure id="folds">' in page
    grid = ("--grid", "configs/full.yaml", "--output", "walk.json")
    printed = run(study, "python", "-m", "scaling.publish", *grid).stdout
    found = read_summary(study / "walk.json")
    assert found.law.test_days.origins == [1996, 1997]
    assert sorted(row["run"] for row in found.runs) == sorted(
        f"{budget}.{fold}" for budget in ("6k", "20k") for fold in FOLDS
    )
    for fold in found.law.ladder.parameters.folds:
        assert (
            f"| {fold.origin} | {fold.days} | {fold.positives:g} | {fold.slope:+.4f} (" in printed
        )


def test_old_networks_are_judged_on_later_blocks_when_asked_and_are_out_of_date_with_their_own(
    study: Path,
) -> None:
    aged = f"{RESULTS}/6k.age.json"
    assert planned(study, aged) == {"age daily/walk 6k"}
    run(study, "snakemake", aged)
    on_block = {(pair["origin"], pair["block"]) for pair in read_json(study / aged)["pairs"]}
    assert on_block == {(1996, 1996), (1996, 1997), (1997, 1997)}
    assert planned(study, aged) == set()
    replace(study / CONFIG, "train_years: 2", "train_years: 1")
    assert "age daily/walk 6k" in planned(study, aged)
    plain = refused(study, "--dry-run", "results/daily/tiny/6k.age.json")
    assert "daily/tiny does not walk forward, so its networks meet no later block" in plain


def test_the_grid_has_all_folds_by_itself_and_says_what_is_no_fold_yet(judged: Path) -> None:
    done = run(judged, "snakemake", "--dry-run", f"{RESULTS}/scaling_law.json")
    assert "daily/walk: 1998 is no origin yet: the prices end on 1998-08-13" in done.stderr
    for fold in FOLDS:
        assert f"{RESULTS}/6k.{fold}.predictions.parquet" in done.stdout
        assert f"{RESULTS}/20k.{fold}.predictions.parquet" in done.stdout
        assert f"{RESULTS}/baselines.{fold}.predictions.parquet" in done.stdout


def test_a_name_without_its_fold_is_told_which_there_are(judged: Path) -> None:
    for name in ("6k", "6k.from1998", "baselines"):
        target = f"{RESULTS}/{name}.predictions.parquet"
        assert "allowed: from1996, from1997" in refused(judged, "--dry-run", target)


def stamps(*folds: str) -> list[str]:
    return [f"{RESULTS}/data.{fold}.md5" for fold in folds]


def test_a_year_more_of_prices_adds_a_fold_and_trains_that_one_alone(study: Path) -> None:
    longer = pd.read_parquet(REPOSITORY / "data/raw/SPY.parquet").loc[:"1998-12-31"]
    register(study, longer)
    added = "from1998"
    run(study, "snakemake", *stamps(*FOLDS, added))
    new = [target.replace(FOLDS[0], added) for target in TARGETS[:2]]
    assert planned(study, *TARGETS, *new) == {
        *(f"train daily/walk 6k.{added}", f"evaluate daily/walk 6k.{added}"),
        f"baselines daily/walk baselines.{added}",
    }


def test_a_corrected_price_trains_the_folds_that_saw_it_and_no_earlier_one(study: Path) -> None:
    prices = pd.read_parquet(study / PRICES)
    day = prices.loc["1997-06"].index[0]
    prices.loc[day, "close"] = prices.loc[day, ["low", "high"]].mean() + 0.001
    register(study, prices)
    run(study, "snakemake", *stamps(*FOLDS))
    assert trainings(planned(study, *TARGETS)) == {"train daily/walk 6k.from1997"}


def test_another_first_fold_leaves_the_others_as_they_are(study: Path) -> None:
    replace(study / CONFIG, "first_test: 1996", "first_test: 1997")
    run(study, "snakemake", *stamps("from1997"))
    assert planned(study, *TARGETS[2:]) == set()


def test_a_longer_training_block_trains_every_fold_again(study: Path) -> None:
    replace(study / CONFIG, "train_years: 2", "train_years: all")
    assert len(trainings(planned(study, *TARGETS))) == len(FOLDS)


def test_a_fold_that_is_too_thin_stops_everything_before_a_training(study: Path) -> None:
    replace(study / CONFIG, "min_samples: 100", "min_samples: 252")
    refused(study, f"{RESULTS}/20k.from1996.ckpt")
    log = (study / "logs/daily/walk/check_manifest.log").read_text()
    assert "from1996: splits." in log and "at least 252 samples" in log
    assert not list((study / RESULTS).glob("20k.*"))

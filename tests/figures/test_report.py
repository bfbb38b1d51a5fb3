"""The command reads one study, refuses a mixture, and leaves out files of an older one."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from scaling import report
from scaling.errors import UserError
from scaling.judging import checks
from scaling.judging.optional_files import read_optional
from scaling.judging.study_files import read_study
from scaling.law.result import read_law
from scaling.record import read_json, write_json
from scaling.run import RunName
from tests.figures.planted_study import (
    BETTER,
    LEAKS,
    NO_BETTER,
    NOISY,
    SEEDS,
    SOUND,
    change,
    flags_of,
    planted,
    read_page,
    remake,
    reported,
    write_control,
    write_sweep,
)
from tests.law.test_ageing import walk


def test_equal_artefacts_give_equal_bytes(copy: Path) -> None:
    before = {p: p.read_bytes() for p in [copy / "report.html", *copy.glob("figures/*.svg")]}
    report.main(flags_of(copy))
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("key", ["labels", "prices", "features", "experiment"])
@pytest.mark.parametrize("name", ["2m.json", "2m.eval.json", "baselines.json"])
def test_files_of_two_studies_are_refused(study: Path, key: str, name: str) -> None:
    remake(study / name, key, "another")
    if key == "experiment":
        change(study / name, experiment="another")
    with pytest.raises(UserError, match=f"{name}: {key} is another, not .*files of one experiment"):
        report.main(flags_of(study))


def test_a_run_that_is_given_twice_is_refused(study: Path) -> None:
    flags = flags_of(study)
    flags.insert(flags.index("--records") + 1, str(study / "2m.json"))
    with pytest.raises(UserError, match="--records and the law.*2m seed 42"):
        report.main(flags)


def optional(study: Path, kind: str, *paths: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The files of this kind that a report of the study takes, and what it says of the others."""
    asked = report.parse(flags_of(study))
    read = read_study(
        law=asked.law,
        records=asked.records,
        evaluations=asked.evaluations,
        predictions=asked.predictions,
        baselines=asked.baselines_record,
        baseline_predictions=asked.baselines,
    )
    return read_optional([Path(path) for path in paths], kind, read.ladder)


# --- checks ----------------------------------------------------------------------------------


def test_a_failed_check_of_one_run_is_marked_before_the_verdict(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = study / "600k.seed43.eval.json"
    spoilt = [checks.counted_parameters("600k", 230_000), *read_json(path)["checks"][1:]]
    change(path, checks=spoilt)
    page, law = reported(study), read_law(study / "scaling_law.json").ladder
    assert page.ids.index("failed") < page.ids.index("verdict")
    assert page.text.index("230,000 counted") < page.text.index(law.sentence)
    assert "600k.seed43" in page.text[: page.text.index("230,000 counted")]
    assert f"{law.parameters.verdict} (void" in page.text
    assert "5 of 6 validity checks passed" in page.text
    assert "CHECKS FAILED: parameters match the budget" in capsys.readouterr().out


def test_a_failed_check_of_the_baselines_voids_the_verdict(study: Path) -> None:
    leaks = {**read_json(study / "baselines.json")["checks"][0], "passed": False}
    change(study / "baselines.json", checks=[leaks])
    page = reported(study)
    assert page.ids.index("failed") < page.ids.index("verdict")
    assert "volatility baselines do not see the future (baselines)" in page.text


def test_a_check_that_could_not_be_made_is_said_beside_the_verdict_and_voids_nothing(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = checks.unknown_look_ahead(Path("data/raw/X_features_external.parquet"))
    for path in study.glob("*.eval.json"):
        change(path, checks=[*read_json(path)["checks"], unknown])
    page, law = reported(study), read_law(study / "scaling_law.json").ladder
    assert "failed" not in page.ids
    assert "void" not in page.text
    said = page.text.index("Could not be checked: features do not see the future.")
    assert page.text.index(law.sentence) < said < page.text.index("Against the baselines")
    assert "6 of 7 validity checks passed" in page.text
    assert "features do not see the future could not be checked" in page.text  # the table's row
    assert "COULD NOT BE CHECKED, features do not see the future" in capsys.readouterr().out


def test_a_control_that_learns_from_shuffled_labels_voids_the_verdict_in_the_first_lines(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [write_control(study, "200k", SOUND), write_control(study, "2m", LEAKS)]
    page, law = reported(study, "--controls", *given), read_law(study / "scaling_law.json").ladder
    assert page.ids.index("failed") < page.ids.index("verdict")
    assert page.text.index("mean skill 30.00 %") < page.text.index(law.sentence)
    assert "shuffled labels teach nothing (2m shuffled)" in page.text
    assert f"{law.parameters.verdict} (void" in page.text
    assert "CHECKS FAILED: shuffled labels teach nothing" in capsys.readouterr().out


def test_a_control_without_skill_is_one_more_check_that_passed(made: Path, study: Path) -> None:
    assert "shuffled labels" not in read_page(made).text
    assert "6 of 6 validity checks passed" in read_page(made).text
    page = reported(study, "--controls", write_control(study, "200k", SOUND))
    assert "7 of 7 validity checks passed" in page.text
    assert "shuffled labels teach nothing passed" in page.text
    assert "failed" not in page.ids


def test_a_control_that_is_too_noisy_is_no_check_that_passed_and_voids_nothing(
    study: Path,
) -> None:
    page = reported(study, "--controls", write_control(study, "200k", NOISY))
    assert "6 of 7 validity checks passed" in page.text
    assert "Could not be checked: shuffled labels teach nothing. inconclusive: mean skill" in (
        page.text
    )
    assert "too noisy to tell a small leak from none" in page.text
    assert "failed" not in page.ids and "void" not in page.text


@pytest.mark.parametrize(
    ("odd", "values", "message"),
    [
        ({"prices": "old"}, {}, "prices is old"),
        ({"features": "old"}, {}, "features is old"),
        ({"settings.optimiser.epochs": 9}, {}, "optimiser.epochs is 9, not 5"),
        ({"code": "before"}, {}, "code is before, not c0de"),
        ({}, {"kind": "sweep"}, "is no shuffled control"),
    ],
)
def test_a_control_of_another_study_is_left_out_in_one_line(
    study: Path, odd: dict[str, Any], values: dict[str, Any], message: str
) -> None:
    path = write_control(study, "2m", LEAKS, odd, **values)
    kept, (said,) = optional(study, "shuffled control", path)
    assert kept == []
    assert said.startswith(f"left out: {path}: {message}")


def test_what_is_left_out_is_said_above_the_ladder_and_spoils_nothing(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = {"prices": "old"}
    control, sweep = write_control(study, "2m", LEAKS, old), write_sweep(study, "2m", BETTER, old)
    swept = [sweep, write_sweep(study, "200k", BETTER)]
    page = reported(study, "--controls", control, "--sweeps", *swept)
    said = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
    for path, line in zip((control, sweep), said, strict=True):
        assert line.startswith(f"left out: {path}: prices is old")
        assert line in page.text
    assert page.ids.index("left-out") < page.ids.index("ladder")
    assert "6 of 6 validity checks passed" in page.text
    assert "failed" not in page.ids
    assert "200k: 2 random recipes were tried" in page.text
    assert "2m: 2 random" not in page.text


# --- age -------------------------------------------------------------------------------------


def write_ageing(root: Path, budget: str, **odd: Any) -> str:
    """What age does to the networks that the study has of a size; returns its path."""
    runs = [replace(planted(RunName(budget=budget, seed=seed)), **odd).as_json() for seed in SEEDS]
    found = asdict(replace(walk(lambda years: 0.003 * years), budget=budget))
    record = {"kind": "ageing", "runs": runs, "made_by": {"code": "a9e"}, **found}
    write_json(root / f"{budget}.age.json", record)
    return str(root / f"{budget}.age.json")


def test_what_age_does_is_drawn_and_said_for_each_size_and_leaves_no_old_figure(
    study: Path,
) -> None:
    ages = [write_ageing(study, "2m"), write_ageing(study, "200k")]
    page = reported(study, "--ages", *ages)
    assert page.ids.index("age") > page.ids.index("ladder")
    assert (study / "figures/age.svg").is_file()
    small, large = (
        page.text.index(f"{size}: each year of age adds +0.00300") for size in ("200k", "2m")
    )
    assert small < large
    assert "year of age" not in reported(study).text
    assert not (study / "figures/age.svg").exists()


def test_the_ageing_of_other_networks_is_left_out_and_said(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = reported(study, "--ages", write_ageing(study, "2m", code="before"))
    assert "year of age" not in page.text and "age" not in page.ids
    (said,) = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
    assert "2m.age.json: code is before, not c0de; make it again: snakemake --force" in said
    assert said in page.text


# --- sweeps ----------------------------------------------------------------------------------


def test_a_sweep_is_drawn_and_its_best_recipe_said_beside_the_one_that_was_trained(
    study: Path,
) -> None:
    swept = [write_sweep(study, "2m", NO_BETTER), write_sweep(study, "200k", BETTER)]
    page = reported(study, "--sweeps", *swept)
    assert "sweeps" in page.ids
    assert (study / "figures/sweeps.svg").is_file()
    assert (
        "200k: 2 random recipes were tried with 3 seeds each. The best is learning rate 0.002, "
        "weight decay 0.02, 10 epochs, initial deviation 0.04, dropout 0.1. It gains 0.0100 nats "
        "over the experiment's own (95 % interval 0.0098 to 0.0102, for as many recipes): better. "
        "The ladder trained learning rate 0.001, weight decay 0.01, 5 epochs, initial deviation "
        "0.02, dropout 0.1." in page.text
    )


def test_a_report_without_sweeps_has_no_place_for_them_and_leaves_no_old_figure(
    study: Path,
) -> None:
    report.main(flags_of(study))
    without = (study / "report.html").read_bytes()
    report.main([*flags_of(study), "--sweeps", write_sweep(study, "2m", BETTER)])
    assert (study / "report.html").read_bytes() != without
    report.main([*flags_of(study), "--sweeps"])
    assert (study / "report.html").read_bytes() == without
    assert "sweeps" not in read_page(study).ids
    assert "Recipes" not in read_page(study).text
    assert not (study / "figures/sweeps.svg").exists()


def test_a_sweep_still_counts_when_its_advice_was_followed(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for run in ("2m", "2m.seed43"):
        for suffix in ("json", "eval.json"):
            remake(study / f"{run}.{suffix}", "settings.optimiser.learning_rate", 0.002)
    law = read_json(study / "scaling_law.json")
    for made in law["runs"]:
        if made["name"]["budget"] == "2m":
            made["settings"]["optimiser"]["learning_rate"] = 0.002
    write_json(study / "scaling_law.json", law)
    page = reported(study, "--sweeps", write_sweep(study, "2m", BETTER))
    assert "The ladder trained learning rate 0.002," in page.text
    assert "left out" not in capsys.readouterr().out


AGAIN = "make it again: snakemake --force results/daily/planted/2m.sweep.json"


@pytest.mark.parametrize(
    ("budget", "odd", "values", "message"),
    [
        ("2m", {"prices": "old"}, {}, f"prices is old, not d0; {AGAIN}"),
        ("2m", {"settings.task.horizon": 5}, {}, f"task.horizon is 5, not 1; {AGAIN}"),
        ("2m", {"settings.optimiser.batch_size": 9}, {}, "optimiser.batch_size is 9, not"),
        ("2m", {"name.days.train_days": 500}, {}, "train_days is 500, not all"),
        ("2m", {"model.d_model": 64}, {}, "model.d_model is 64, not 32"),
        ("2m", {}, {"kind": "train"}, "is no sweep; give one, or none"),
        ("20m", {}, {}, "is of 20m, the ladder has 200k, 600k, 2m; drop it from the command"),
    ],
)
def test_a_sweep_of_another_study_is_left_out_in_one_line_and_spoils_no_other(
    study: Path, budget: str, odd: dict[str, Any], values: dict[str, Any], message: str
) -> None:
    path = write_sweep(study, budget, BETTER, odd, **values)
    kept, (said,) = optional(study, "sweep", path, write_sweep(study, "200k", BETTER))
    assert [sweep["budget"] for sweep in kept] == ["200k"]
    assert said.startswith(f"left out: {path}: {message}")


def test_of_two_sweeps_of_one_budget_the_second_is_left_out(study: Path) -> None:
    path = write_sweep(study, "2m", BETTER)
    (study / "again").mkdir()
    again = write_sweep(study / "again", "2m", NO_BETTER)
    kept, (said,) = optional(study, "sweep", path, again)
    assert kept == [read_json(path)]
    assert said.startswith(f"left out: {again}: another sweep of 2m stands before it")

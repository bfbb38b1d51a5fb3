"""The page of two axes answers both questions, and no mixture of training days reaches it."""

import re
import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from scaling import report
from scaling.errors import UserError
from scaling.figures import surfaces
from scaling.figures.catalogue import CATALOGUE, figures_of
from scaling.judging import checks
from scaling.law.power_law import Advice, Exponent, FittedLaw, HeldOut
from scaling.law.result import Law, as_json, read_law
from scaling.law.table import read_rows
from scaling.record import file_md5, read_json, write_json
from tests.conftest import MakeOnce
from tests.figures.planted_axes import make_axes, valley
from tests.figures.planted_study import (
    PARAMETERS,
    SOUND,
    Page,
    baselines_in,
    change,
    flags_of,
    nudge,
    read_page,
    remake,
    reported,
    rewrite,
    spoil,
    write_control,
    write_law,
)

FIGURES = [figure.name for figure in figures_of(["runs"])]
CAPTIONS = {figure.name: figure.caption for figure in CATALOGUE}
DRAWN = {"two_axes", "loss_by_size", "skill_map", "ensembles"}


@pytest.fixture(scope="session")
def made(make_once: MakeOnce) -> Path:
    """The folder of a sound study of two axes with its report, to be read only."""

    def make(root: Path) -> None:
        make_axes(root)
        report.main(flags_of(root))

    return make_once("axes", make)


@pytest.fixture(scope="session")
def both_draws(make_once: MakeOnce) -> Path:
    def make(root: Path) -> None:
        make_axes(root, draws=("recent", "blocks"))
        report.main(flags_of(root))

    return make_once("draws", make)


def surface_of(root: Path, draw: str = "recent") -> Law:
    return read_law(root / "scaling_law.json").surfaces[draw]


def refused(root: Path, message: str) -> None:
    before = (root / "report.html").read_bytes()
    with pytest.raises(UserError, match=message):
        report.main(flags_of(root))
    assert (root / "report.html").read_bytes() == before


# --- what a reader meets ---------------------------------------------------------------------


def test_one_sentence_answers_both_questions_before_any_figure(made: Path) -> None:
    page, surface = read_page(made), surface_of(made)
    first_figure = min(page.ids.index(name) for name in (*DRAWN, *FIGURES))
    assert page.ids.index("verdict") < first_figure
    assert surface.sentence in page.text
    assert surface.sentence.count(". ") == 0
    for slope in (surface.parameters.slope, surface.samples.slope, surface.interaction):
        assert slope is not None
        low, high = slope.interval95
        assert f"95 % interval {low:+.4f} to {high:+.4f}" in surface.sentence
    head = page.text[: page.text.index(surface.sentence)]
    assert f"parameters: {surface.parameters.verdict}" in head
    assert f"training days: {surface.samples.verdict}" in head


def test_a_failed_check_on_some_of_the_days_voids_both_verdicts_above_them(study: Path) -> None:
    path = study / "600k.days500.seed43.eval.json"
    spoilt = [checks.counted_parameters("600k", 230_000), *read_json(path)["checks"][1:]]
    change(path, checks=spoilt)
    page = reported(study)
    assert page.ids.index("failed") < page.ids.index("verdict")
    assert "600k.days500.seed43" in page.text[: page.text.index("230,000 counted")]
    assert "inconclusive (void: a check failed)" in page.text or re.search(
        r"training days: [a-z ]+ \(void: a check failed\)", page.text
    )


def test_every_figure_of_two_axes_is_on_the_page_and_in_the_folder(made: Path) -> None:
    page = read_page(made)
    assert page.tags.count("svg") == len(FIGURES) + len(DRAWN)
    for name in DRAWN:
        assert name in page.ids
        assert CAPTIONS[name] in page.text
        assert ElementTree.parse(made / f"figures/{name}.svg").getroot().tag.endswith("svg")
    assert "draws" not in page.ids
    assert not (made / "figures/draws.svg").exists()


def test_two_ways_to_draw_the_days_stand_side_by_side_each_with_its_sentence(
    both_draws: Path,
) -> None:
    page = read_page(both_draws)
    assert page.ids.index("verdict") < page.ids.index("draw-blocks") < page.ids.index("draws")
    for draw in ("recent", "blocks"):
        assert page.text.count(surface_of(both_draws, draw).sentence) == 1
    laws = read_law(both_draws / "scaling_law.json").surfaces
    for warning in laws["blocks"].warnings:
        assert page.text.count(warning) >= sum(warning in law.warnings for law in laws.values())
    assert laws["blocks"].warnings
    panels = surfaces.draws(laws).axes
    assert [panel.get_title(loc="left") for panel in panels] == [*PARAMETERS, "logistic regression"]
    for panel in panels:
        names = panel.get_legend_handles_labels()[1]
        assert names == ["most recent days", "random quarters"]


def test_a_u_in_days_is_called_non_monotone_and_no_slope_over_it_is_claimed(tmp_path: Path) -> None:
    make_axes(tmp_path, valley, days=(500, 2000, "all"), noise=0.05)
    surface, page = surface_of(tmp_path), reported(tmp_path)
    assert surface.sentence in page.text
    assert "inconclusive: non-monotone" in page.text
    assert "non-monotone , lowest near" in page.text
    assert "A slope over a U is no finding" in page.text


def test_a_law_that_is_not_identified_says_why_and_gives_no_advice(made: Path) -> None:
    text = read_page(made).text
    assert "not identified: 3 sizes and 3 numbers of days; 4 of each are needed" in text
    assert "no advice, because the law is not identified" in text


def test_a_law_that_is_identified_says_what_ten_times_the_compute_should_be_spent_on(
    study: Path,
) -> None:
    law = read_law(study / "scaling_law.json")
    fitted = FittedLaw(
        identified=True,
        reason="",
        exponents={
            "parameters": Exponent("alpha", 0.3, (0.2, 0.4)),
            "train_days": Exponent("beta", 0.2, (0.1, None)),
        },
        constants={"E": 0.3, "A": 1.0, "B": 1.0},
        chi2=1.0,
        held_out=[HeldOut("largest size", 0.001, 0.002)],
        advice=Advice(2.5, (1.0, 6.3), 4.0, 0.31, 0.32, 0.33),
    )
    surface = replace(law.surfaces["recent"], power_law=fitted)
    write_json(study / "scaling_law.json", as_json(replace(law, surfaces={"recent": surface})))
    text = reported(study).text
    assert "2.5 times the parameters (95 % region 1.0 to 6.3) and 4.0 times the days" in text
    assert "β, training days, 95 % profile interval 0.200, 0.100 to open" in text
    assert "no advice" not in text


def test_the_page_is_well_formed_and_names_no_address_outside_itself(both_draws: Path) -> None:
    page = Page((both_draws / "report.html").read_text())
    assert not page.open
    assert "script" not in page.tags
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    drawn = [i for i in page.ids if re.fullmatch(r"[mp][0-9a-f]{10}", i)]
    assert len(drawn) == len(set(drawn))


def test_the_order_of_the_files_changes_nothing(copy: Path) -> None:
    before = (copy / "report.html").read_bytes()
    flags = flags_of(copy)
    for flag, following in (("--records", "--evaluations"), ("--baselines-record", "--figures")):
        first, last = flags.index(flag) + 1, flags.index(following)
        flags[first:last] = reversed(flags[first:last])
    report.main(flags)
    assert (copy / "report.html").read_bytes() == before


def test_figures_of_days_that_a_study_has_no_longer_are_removed(copy: Path, made: Path) -> None:
    (copy / "figures/draws.svg").write_text("of an older grid")
    report.main(flags_of(copy))
    assert not (copy / "figures/draws.svg").exists()
    assert (copy / "figures/two_axes.svg").read_bytes() == (
        made / "figures/two_axes.svg"
    ).read_bytes()


# --- the ladder is of one number of days -----------------------------------------------------


def test_the_ladder_below_is_that_of_the_runs_on_all_days_alone(made: Path, tmp_path: Path) -> None:
    """The same runs without the others give the same ladder, tables and diagnostics."""
    for path in made.iterdir():
        if path.is_file() and not re.search(r"\.(days|blocks)\d|report", path.name):
            shutil.copy(path, tmp_path)
    write_law(tmp_path)
    alone, both = reported(tmp_path), read_page(made)
    assert alone.ids.index("verdict") < alone.ids.index("ladder")
    first, last = "Against the baselines", "Checks Every evaluation"
    ours = both.text[both.text.index(first) : both.text.index(last)]
    theirs = alone.text[alone.text.index(first) : alone.text.index(last)]
    assert ours == theirs
    for name in FIGURES:
        assert (made / f"figures/{name}.svg").read_bytes() == (
            tmp_path / f"figures/{name}.svg"
        ).read_bytes()


def test_a_control_is_compared_with_the_run_on_all_days(study: Path) -> None:
    control = write_control(study, "200k", SOUND)
    assert "shuffled labels teach nothing passed" in reported(study, "--controls", control).text


# --- mixtures --------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["json", "eval.json"])
def test_a_run_of_another_number_of_days_under_the_right_name_is_refused(
    study: Path, suffix: str
) -> None:
    shutil.copy(study / f"2m.days500.{suffix}", study / f"2m.days1000.{suffix}")
    refused(study, f"2m.days1000.{suffix}: holds the run 2m.days500, not 2m.days1000")


@pytest.mark.parametrize(
    ("key", "value", "run"),
    [("train_days", 500, "2m.days500"), ("draw", "blocks", "2m.blocks1000")],
)
def test_a_record_that_was_trained_on_other_days_than_its_name_says_is_refused(
    study: Path, key: str, value: Any, run: str
) -> None:
    remake(study / "2m.days1000.json", f"name.days.{key}", value)
    refused(study, f"2m.days1000.json: run is 2m.days1000, not {run}.seed42; make it again")


def test_an_evaluation_with_the_numbers_of_other_days_is_refused(study: Path) -> None:
    other = read_json(study / "2m.days500.eval.json")
    change(study / "2m.days1000.eval.json", metrics=other["metrics"])
    refused(study, r"2m.days1000.eval.json: says .*its predictions give")


def test_predictions_that_name_other_days_than_their_run_are_refused(study: Path) -> None:
    path = study / "2m.days500.predictions.parquet"
    rewrite(path, pd.read_parquet(path).assign(train_days="1000"))
    change(study / "2m.days500.eval.json", predictions_md5=file_md5(path))
    spoil(study / "scaling_law.json", lambda law: law["inputs"].update({str(path): file_md5(path)}))
    refused(study, r"2m.days500.eval.json: says .*its predictions give None")


@pytest.mark.parametrize(
    ("flag", "name", "message"),
    [
        ("--records", "2m.days500.seed43.json", "2m seed 43 on 500 recent training days"),
        ("--evaluations", "600k.days1000.eval.json", "600k seed 42 on 1000 recent training days"),
        ("--evaluations", "600k.eval.json", "600k seed 42;"),
        ("--baselines-record", "baselines.days500.json", "baselines on 500 recent training days"),
    ],
)
def test_a_run_that_is_missing_is_said_by_its_name_and_days(
    study: Path, flag: str, name: str, message: str
) -> None:
    flags = flags_of(study)
    flags.remove(str(study / name))
    with pytest.raises(UserError, match=f"{flag} and the law do not name.*: {message}"):
        report.main(flags)


def test_a_run_on_some_of_the_days_is_no_replicate_of_the_ladder(study: Path) -> None:
    """A law of one axis does not accept it, however it is called."""

    def of_the_ladder(law: dict[str, Any]) -> None:
        law["runs"] = [r for r in law["runs"] if r["name"]["days"]["train_days"] == "all"]

    spoil(study / "scaling_law.json", of_the_ladder)
    refused(study, "do not name the same runs: .*200k seed 42 on 500 recent training days")


@pytest.mark.parametrize(
    ("number", "name"),
    [
        ("cells.0.seed_log_losses.1", "log_loss of 200k on 500 recent training days seed 43"),
        ("cells.4.skill", "skill of 600k on 1000 recent training days"),
        ("cells.4.ensemble.log_loss", "ensemble of 600k on 1000 recent training days"),
        (
            "baselines.logistic_regression.cells.1.log_loss",
            "log_loss of logistic_regression on 1000 recent training days",
        ),
    ],
)
def test_a_law_of_two_axes_that_does_not_follow_from_the_predictions_is_refused(
    study: Path, number: str, name: str
) -> None:
    spoil(study / "scaling_law.json", lambda law: nudge(law, f"surfaces.recent.{number}"))
    refused(study, f"scaling_law.json: says {name}")


def test_a_baseline_of_other_days_than_its_record_says_is_refused(study: Path) -> None:
    swapped = [study / f"baselines{days}.json" for days in (".days500", ".days1000")]
    first, second = (read_json(path) for path in swapped)
    write_json(swapped[0], {**first, "models": second["models"]})
    refused(study, r"baselines.days500.json: says .*its predictions give")


def test_only_the_base_rate_of_the_whole_block_must_be_that_of_the_trainings(made: Path) -> None:
    rows = read_rows(baselines_in(made))
    assert rows.loc[rows["model"] == "base_rate", "p"].nunique() == 2
    assert "failed" not in read_page(made).ids


def test_a_study_without_runs_on_all_days_is_told_what_to_add_to_its_grid(tmp_path: Path) -> None:
    make_axes(tmp_path, days=(500, 1000, "all"))
    for path in tmp_path.iterdir():
        if re.fullmatch(r"(200k|600k|2m|baselines)(\.seed43)?\.[a-z.]+", path.name):
            path.unlink()
    write_law(tmp_path)
    with pytest.raises(UserError, match="add `all` to train_days in the grid"):
        report.main(flags_of(tmp_path))


def test_two_seeds_on_the_same_days_that_share_their_weights_are_no_replicates(study: Path) -> None:
    shared = read_json(study / "2m.days500.json")["initial_weights"]
    change(study / "2m.days500.seed43.json", initial_weights=shared)
    refused(study, "2m.days500 and 2m.days500.seed43 started from the same weights")


def test_one_seed_on_two_numbers_of_days_may_start_from_the_same_weights(study: Path) -> None:
    shared = read_json(study / "2m.json")["initial_weights"]
    change(study / "2m.days500.json", initial_weights=shared)
    report.main(flags_of(study))


def test_the_ensembles_of_several_markets_agree_with_their_predictions(tmp_path: Path) -> None:
    """There the probabilities are averaged for each market, and the losses over the markets."""
    make_axes(tmp_path, days=(500, "all"), assets=("SP500", "NASDAQ"))
    report.main(flags_of(tmp_path))
    spoil(
        tmp_path / "scaling_law.json",
        lambda law: nudge(law, "surfaces.recent.cells.4.ensemble.log_loss"),
    )
    refused(tmp_path, "scaling_law.json: says ensemble of 2m on 500 recent training days")


# --- figures ---------------------------------------------------------------------------------


def test_lines_are_told_apart_without_colour_and_each_has_its_name_at_its_end(made: Path) -> None:
    surface = surface_of(made)
    for draw in (surfaces.loss_against_days, surfaces.loss_against_size):
        (axes,) = draw(surface).axes
        lines = [container.lines[0] for container in axes.containers]
        looks = [(line.get_marker(), line.get_linestyle()) for line in lines]
        assert len(set(looks)) == len(lines)
        named = [text.get_text() for text in axes.texts]
        assert named == [container.get_label() for container in axes.containers]


def test_names_at_the_ends_of_lines_do_not_cover_each_other(made: Path) -> None:
    surface = surface_of(made)
    level = replace(surface, cells=[replace(cell, log_loss=0.35) for cell in surface.cells])
    (axes,) = surfaces.loss_against_days(level).axes
    heights = sorted(text.get_position()[1] for text in axes.texts)
    assert min(b - a for a, b in zip(heights, heights[1:], strict=False)) > 0.07


def test_the_map_prints_the_skill_of_each_cell_and_a_dot_for_each_network(made: Path) -> None:
    surface = surface_of(made)
    (axes,) = surfaces.skill_map(surface).axes
    printed = [text.get_text() for text in axes.texts]
    assert printed == [f"{100 * cell.skill:.1f}" for cell in surface.cells]
    dots = sum(len(line.get_xdata()) for line in axes.get_lines())
    assert dots == sum(len(cell.seeds) for cell in surface.cells)


def test_the_curves_show_the_numbers_of_the_law(made: Path) -> None:
    surface = surface_of(made)
    (axes,) = surfaces.loss_against_days(surface).axes
    for container in axes.containers[:3]:
        cells = [c for c in surface.cells if c.budget == container.get_label()]
        assert list(container.lines[0].get_ydata()) == [cell.log_loss for cell in cells]
    logistic = surface.baselines["logistic_regression"].cells
    named = {c.get_label().replace("\n", " "): c for c in axes.containers}
    line = named["logistic regression"].lines[0]
    assert list(line.get_ydata()) == [cell.log_loss for cell in logistic]


def test_a_size_with_one_seed_has_a_panel_and_no_ensemble(made: Path) -> None:
    surface = surface_of(made)
    first = [replace(cell, ensemble=None) for cell in surface.cells[:3]]
    panels = surfaces.ensembles(replace(surface, cells=[*first, *surface.cells[3:]])).axes
    assert [len(panel.containers) for panel in panels] == [1, 2, 2]

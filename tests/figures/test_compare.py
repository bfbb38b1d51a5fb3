"""Two ladders in one figure: drawn where they may be compared, refused where they may not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scaling import compare
from scaling.errors import UserError
from scaling.figures import plots
from scaling.law.result import read_law
from scaling.record import read_json, write_json

DAYS_OF_ANOTHER = {"count": 1, "first": "2014-01-02", "last": "2014-01-02", "positives": 0}


def second(made: Path, folder: Path, **values: Any) -> list[str]:
    """The flags for a study and for another one, which differs from it in `values`."""
    law = made / "scaling_law.json"
    write_json(folder / "other.json", {**read_json(law), "experiment": "daily/other", **values})
    return ["--laws", str(law), str(folder / "other.json"), "--output", str(folder / "both.svg")]


def test_two_studies_of_the_same_days_are_drawn_and_their_verdicts_said(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    law = read_law(made / "scaling_law.json")
    other = read_json(made / "scaling_law.json")["ladder"] | {"sentence": "Planted."}
    compare.main(second(made, tmp_path, ladder=other))
    figure, said = (tmp_path / "both.svg").read_text(), capsys.readouterr().out
    assert law.experiment in figure and "daily/other" in figure
    verdict = law.ladder.parameters.verdict
    assert f"{law.experiment}: {verdict}. {law.ladder.sentence}" in said
    assert f"daily/other: {verdict}. Planted." in said


def test_each_ladder_stands_at_its_own_sizes_and_skills(made: Path) -> None:
    size = read_law(made / "scaling_law.json").ladder.cells[0]
    small = replace(size, parameters=100, skill=0.1, skill_interval95=(0.05, 0.2))
    large = replace(size, parameters=300, skill=0.3, skill_interval95=(0.25, 0.31))
    (axes,) = plots.ladders({"one": [small], "two": [large]}).axes
    (one, _, (bar,)), (two, _, _) = axes.containers
    assert [*one.get_xdata(), *one.get_ydata()] == pytest.approx([100, 10])
    assert [*two.get_xdata(), *two.get_ydata()] == pytest.approx([300, 30])
    assert bar.get_segments()[0][:, 1] == pytest.approx([5, 20])
    assert one.get_color() != two.get_color()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["one", "two"]


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"test_days": DAYS_OF_ANOTHER}, "differ in their test days and positives"),
        ({"base_rate": 0.123}, "differ in their training base rate"),
    ],
)
def test_studies_that_cannot_be_compared_are_refused(
    made: Path, tmp_path: Path, values: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        compare.main(second(made, tmp_path, **values))
    assert not (tmp_path / "both.svg").exists()


def test_every_difference_besides_shape_is_printed_and_stands_under_the_figure(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = read_json(made / "scaling_law.json")["runs"]
    for run in runs:
        run |= {"precision": "bf16", "experiment": "daily/other"}
        run["settings"]["family"] = "patchtsmixer"
        run["model"]["d_model"] = 64
        run["settings"]["optimiser"]["epochs"] = 9 if run["name"]["seed"] == 43 else 5
    compare.main(second(made, tmp_path, runs=runs))
    own = read_json(made / "scaling_law.json")["experiment"]
    lines = [
        line for line in capsys.readouterr().out.splitlines() if "the studies differ in" in line
    ]
    assert [line.partition("differ in ")[2] for line in lines] == [
        f"family: patchtst for {own}; patchtsmixer for daily/other",
        f"optimiser.epochs: 5 for {own}; 5, 9 for daily/other",
        f"precision: fp32 for {own}; bf16 for daily/other",
    ]
    figure = (tmp_path / "both.svg").read_text()
    assert f"precision: fp32 for {own}; bf16 for daily/other" in figure


def test_what_a_ladder_from_elsewhere_was_made_with_is_said_to_be_unknown(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare.main(second(made, tmp_path, runs=[]))
    assert "precision: fp32 for daily/planted; unknown for daily/other" in capsys.readouterr().out


def test_laws_that_all_lack_their_runs_do_not_pass_for_studies_of_one_recipe(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = second(made, tmp_path, runs=[])
    write_json(tmp_path / "own.json", {**read_json(Path(flags[1])), "runs": []})
    compare.main([flags[0], str(tmp_path / "own.json"), *flags[2:]])
    unknown = "none of these laws holds the runs that it was fitted to"
    assert unknown in capsys.readouterr().out
    assert unknown in (tmp_path / "both.svg").read_text()


def test_two_studies_of_one_recipe_have_nothing_under_the_figure(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare.main(second(made, tmp_path))
    assert "differ in" not in capsys.readouterr().out + (tmp_path / "both.svg").read_text()


def test_the_same_study_given_twice_is_refused(made: Path, tmp_path: Path) -> None:
    own_name = read_json(made / "scaling_law.json")["experiment"]
    with pytest.raises(UserError, match="stands twice"):
        compare.main(second(made, tmp_path, experiment=own_name))


def test_one_study_is_no_comparison(made: Path, tmp_path: Path) -> None:
    flags = second(made, tmp_path)
    with pytest.raises(UserError, match="got 1 study; allowed: 2 or more"):
        compare.main([*flags[:2], *flags[3:]])

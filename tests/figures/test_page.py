"""The page says what the artefacts say, failures first, and stands alone."""

import json
import re
import shutil
import subprocess
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import pandas as pd
import pytest

from scaling.figures import gallery, page, svg
from scaling.figures.catalogue import CATALOGUE, Declared, figures_of
from scaling.figures.page import number, percent, span
from scaling.law.direction import Direction
from scaling.law.earnings import Earnings
from scaling.law.judged_markets import markets_of
from scaling.law.result import read_law
from scaling.law.table import read_rows
from scaling.record import identity_of_parquet, read_json, write_json, write_parquet
from tests.figures.planted_study import (
    SETTINGS,
    Page,
    baselines_in,
    change,
    make_study,
    networks_in,
    read_page,
    reported,
    spoil,
    write_law,
)

REPOSITORY = Path(__file__).parents[2]
FIGURES = {figure.name: figure for figure in figures_of(["runs", "direction"])}


def test_the_verdict_and_its_sentence_stand_before_any_figure(made: Path) -> None:
    found, law = read_page(made), read_law(made / "scaling_law.json").ladder
    assert found.ids.index("verdict") < found.ids.index("ladder")
    assert found.text.index(law.parameters.verdict) < found.text.index(FIGURES["ladder"].caption)
    assert law.sentence in found.text


def test_the_page_asks_the_question_in_the_words_of_the_config(study: Path, made: Path) -> None:
    assert "the close rises by 1 % or more within one day" in read_page(made).text
    for record in study.glob("*.json"):
        content = read_json(record)
        for made in [content["identity"]] if "identity" in content else content["runs"]:
            made["settings"]["task"] |= {"threshold": 0.02}
        write_json(record, content)
    assert "the close rises by 2 % or more within one day" in reported(study).text


def test_every_figure_is_on_the_page_and_in_the_folder(made: Path) -> None:
    found = read_page(made)
    assert found.tags.count("svg") == len(FIGURES)
    for name, figure in FIGURES.items():
        assert name in found.ids
        assert figure.caption in found.text
        root = ElementTree.parse(made / "figures" / f"{name}.svg").getroot()
        assert root.tag.endswith("svg")


def test_the_page_says_how_much_is_size_how_much_direction_and_what_it_would_have_earned(
    made: Path,
) -> None:
    page, law = read_page(made), read_law(made / "scaling_law.json")
    assert isinstance(law.direction, Direction) and isinstance(law.earnings, Earnings)
    assert law.direction.sentence(law.best_network.budget) in page.text
    assert law.earnings.sentence() in page.text
    assert page.ids.index("ladder") < page.ids.index("direction-sentence")


def test_a_study_of_moves_either_way_trades_by_volatility_targeting_and_has_no_direction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SETTINGS["task"], "direction", "either")
    monkeypatch.setattr(svg, "to_svg", lambda figure, name: svg.Svg("<svg></svg>", "<svg/>"))
    make_study(tmp_path)
    page, earnings = reported(tmp_path), read_law(tmp_path / "scaling_law.json").earnings
    assert isinstance(earnings, Earnings)
    assert "With the position that targets a volatility of 10% a year" in earnings.sentence()
    assert earnings.sentence() in page.text
    assert "Not measured: the question asks for a move either way" in page.text


def test_the_slopes_of_recalibrated_log_loss_and_of_the_auc_stand_under_that_of_log_loss(
    made: Path,
) -> None:
    page, found = read_page(made), read_law(made / "scaling_law.json").calibration
    assert found and found.recalibrated and found.auc
    rows = ("slope, each network recalibrated on validation", "slope of the AUC")
    for row, slope in zip(rows, (found.recalibrated.slope, found.auc), strict=True):
        assert f"{row} {number(slope.estimate, 4)}" in page.text
        assert span(slope.interval95) in page.text
    assert found.sentence and found.sentence in page.text


def test_a_study_of_several_markets_has_a_row_and_a_panel_of_each(
    made: Path, tmp_path: Path
) -> None:
    make_study(tmp_path, assets=("ABC", "XYZ"))
    found = reported(tmp_path)
    markets = markets_of(read_rows(networks_in(tmp_path)), read_rows(baselines_in(tmp_path)))
    assert markets and markets.sentence() in found.text
    head = "market test days positive 200k 600k 2m garch logistic regression"
    assert f"{head} ABC 250 " in found.text
    for name, row in markets.rows.items():
        skills = [*map(fmean, row.skill.values()), *row.baselines.values()]
        shown = [percent(value) for value in (row.positives / row.days, *skills)]
        assert f" {name} {row.days} {' '.join(shown)} " in found.text
    (panels,) = (figure for figure in CATALOGUE if figure.name == "markets")
    assert panels.caption in found.text
    assert (tmp_path / "figures/markets.svg").is_file()
    assert "markets" not in read_page(made).ids
    assert "Market by market" not in read_page(made).text


@pytest.mark.parametrize("part", ["direction", "earnings"])
def test_a_question_without_an_answer_says_why_on_the_page(study: Path, part: str) -> None:
    path = study / "baselines.predictions.parquet"
    rows = pd.read_parquet(path)
    write_parquet(path, rows[rows["model"] != "garch"], identity_of_parquet(path))
    spoil(study / "baselines.json", lambda content: content["models"].pop("garch"))
    write_law(study)
    page = reported(study)
    assert f"{part}-not-measured" in page.ids and f"{part}-sentence" not in page.ids
    assert "Not measured: the baseline garch is missing" in page.text
    assert not (study / "figures" / "direction.svg").exists()


@pytest.mark.parametrize("figure", CATALOGUE, ids=lambda figure: figure.name)
def test_a_figure_that_is_declared_has_a_drawing_a_caption_and_a_place_on_a_page(
    figure: Declared,
) -> None:
    assert figure.name in gallery.DRAWINGS
    assert figure.caption
    pages = [path.read_text() for path in (REPOSITORY / "scaling/figures").glob("*.html")]
    assert any(f'{{{{ figure("{figure.name}") }}}}' in page for page in pages)


def test_the_workflow_declares_no_figure_by_its_own_word() -> None:
    for path in (REPOSITORY / "workflow").rglob("*"):
        if path.is_file():
            text = path.read_text()
            named = [f.name for f in CATALOGUE if re.search(rf"\b{f.name}(\.svg|=report)", text)]
            assert named == [], f"{path} declares a figure of its own"


def test_the_package_carries_every_file_that_the_page_is_made_of() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["scaling.figures"]
    folder = REPOSITORY / "scaling/figures"
    carried = {path for pattern in patterns for path in folder.glob(pattern)}
    files = {path for path in folder.rglob("*") if path.suffix in (".html", ".css", ".rst")}
    assert carried == files
    assert len(files) == 4 + len(CATALOGUE)


def test_the_page_names_no_address_outside_itself(made: Path) -> None:
    content = (made / "report.html").read_text()
    found = Page(content)
    assert all(address.startswith(("#", "data:")) for address in found.addresses)
    assert "script" not in found.tags
    assert not re.findall(r"@import|url\((?!#|[\"']?#)", content)


def test_no_id_stands_twice_or_the_figures_would_clip_each_other(made: Path) -> None:
    ids = read_page(made).ids
    assert [i for i in ids if re.fullmatch(r"[mp][0-9a-f]{10}", i)]
    drawn = [i for i in ids if re.fullmatch(r"[mp][0-9a-f]{10}", i) or i in FIGURES]
    assert len(drawn) == len(set(drawn))


def test_the_page_is_well_formed_and_has_a_dark_and_a_paper_form(made: Path) -> None:
    content = (made / "report.html").read_text()
    assert content.startswith("<!DOCTYPE html>")
    assert not Page(content).open
    assert "prefers-color-scheme: dark" in content
    assert "@media print" in content


def test_names_from_files_cannot_become_markup(study: Path) -> None:
    assert "a <fast> CPU & more" in read_page(study).text
    script = "<script>alert(1)</script>"
    change(study / "2m.json", device_name=script)
    spoil(study / "scaling_law.json", lambda law: law["ladder"].update(sentence=script))
    page = reported(study)
    assert "script" not in page.tags
    assert page.text.count(script) == 2


def test_a_size_has_its_parameters_without_embeddings_its_cost_and_its_seeds(made: Path) -> None:
    assert "2m 2,010,000 2,009,000 1.3 × 10¹⁷ 33.5 min 2" in read_page(made).text


def test_a_measure_that_one_seed_cannot_define_is_the_mean_of_the_others() -> None:
    scores = [{"auc": 0.7, "undefined": {}}, {"auc": None, "undefined": {"auc": "one class"}}]
    assert page.mean_scores(scores) == {"auc": 0.7}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (page.number(-0.0125), "−0.013"),
        (page.number(None), "–"),
        (page.percent(-0.0123), "−1.2 %"),
        (page.percent(0.5, 0), "50 %"),
        (page.percent(None), "–"),
        (page.span([-0.5, 0.25], 2), "−0.50 to 0.25"),
        (page.span([-0.5, 0.25], 0, 100), "−50 to 25"),
        (page.thousands(2010000), "2,010,000"),
        (page.thousands(None), "–"),
        (page.chance(0.0004), "< 0.001"),
        (page.chance(0.0325), "0.033"),
        (page.power_of_ten(1.24e15), "1.2 × 10¹⁵"),
        (page.power_of_ten(None), "–"),
        (page.duration(90), "1.5 min"),
        (page.duration(5400), "1.5 h"),
        (page.duration(None), "–"),
        (page.rate(0.00123), "0.0012"),
        (page.words("logistic_regression"), "logistic regression"),
    ],
)
def test_a_number_is_written_as_a_reader_expects_it(written: str, expected: str) -> None:
    assert written == expected


# --- in a browser ----------------------------------------------------------------------------


class Visit(NamedTuple):
    """What a browser made of a page: its elements, its complaints, the hosts it asked for."""

    page: Page
    console: list[str]
    hosts: set[str]


def visit(path: Path, profile: Path) -> Visit:
    """Open a file in headless Chromium, with every request recorded and none let out."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium here; install it with: apt-get install chromium")
    net_log = profile / "net.json"
    done = subprocess.run(
        [
            *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--disable-background-networking", "--disable-component-update", "--no-first-run"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr"),
            *(f"--user-data-dir={profile}", f"--log-net-log={net_log}", "--dump-dom"),
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    events = json.loads(net_log.read_text())["events"]
    urls = [str(event.get("params", {}).get("url", "")) for event in events]
    return Visit(
        Page(done.stdout),
        [line for line in done.stderr.splitlines() if "CONSOLE" in line],
        {url.split("/")[2] for url in urls if re.match("(https?|wss?|ftp)://", url)},
    )


# Chromium asks its maker for the time, dictionaries and accounts whatever page is open.
BROWSERS_OWN = re.compile(r"(.*\.)?(google|googleapis|gvt1|gstatic)\.com")


def asked_by_the_page(seen: Visit) -> set[str]:
    return {host for host in seen.hosts if not BROWSERS_OWN.fullmatch(host)}


@pytest.mark.browser
def test_a_browser_shows_verdict_and_figures_without_errors_or_requests(
    made: Path, tmp_path: Path
) -> None:
    seen = visit(made / "report.html", tmp_path)
    assert "verdict" in seen.page.ids
    assert "failed" not in seen.page.ids
    assert seen.page.tags.count("svg") == len(FIGURES)
    assert not seen.console
    assert not asked_by_the_page(seen)


@pytest.mark.browser
def test_the_browser_test_would_see_a_request_and_an_error(tmp_path: Path) -> None:
    planted = tmp_path / "planted.html"
    planted.write_text("<img src='https://fonts.example/a.png'><script>throw Error('x')</script>")
    seen = visit(planted, tmp_path)
    assert asked_by_the_page(seen) == {"fonts.example"}
    assert seen.console

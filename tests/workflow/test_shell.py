"""A config that somebody else wrote cannot run commands: names are plain, and quoted besides."""

import re
from pathlib import Path

import pytest

from scaling.errors import EXIT_BAD_INPUT
from tests.miniature import make_miniature, run

RULES = sorted(Path("workflow/rules").glob("*.smk"))
# A command of several words, which `launcher` puts together, and two numbers.
UNQUOTED = {"params.launch", "resources.cool_down", "threads"}


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_every_value_in_a_shell_line_is_quoted(path: Path) -> None:
    shells = re.findall(r"^ {4}shell:\n((?: {8}\".*\"\n)+)", path.read_text(), re.M)
    assert len(shells) == path.read_text().count("    shell:")
    values = re.findall(r"\{([^{}]+)\}", "".join(shells))
    assert {value for value in values if not value.endswith(":q")} <= UNQUOTED


PLANTED = "data: {prices: 'data/raw/$(touch pwned).parquet'}\n"


@pytest.mark.slow
def test_a_config_that_would_run_a_command_is_refused_before_anything_runs(tmp_path: Path) -> None:
    study = make_miniature(tmp_path)
    prices = study / "data/raw/SPY.parquet"
    prices.with_name("$(touch pwned).parquet").write_bytes(prices.read_bytes())
    with (study / "configs/daily/tiny.yaml").open("a") as stream:
        stream.write(PLANTED)
    failed = run(study, "snakemake", "results/daily/tiny/data.md5", check=False)
    assert failed.returncode == EXIT_BAD_INPUT
    shown = failed.stdout + failed.stderr
    assert "data.prices: got 'data/raw/$(touch pwned).parquet'; allowed: letters" in shown
    assert "Traceback" not in shown
    assert not list(study.rglob("pwned"))


@pytest.mark.slow
def test_a_name_that_got_through_would_still_be_no_command(tmp_path: Path) -> None:
    study = make_miniature(tmp_path)
    config = study / "scaling/names.py"
    text = config.read_text()
    refusing = 'if ".." in parts or not all(NAME_PART.fullmatch(part) for part in parts):'
    assert text.count(refusing) == 1
    config.write_text(text.replace(refusing, "if False:"))
    (study / "configs/daily/tiny.yaml").rename(study / "configs/daily/$(touch pwned).yaml")
    (study / "configs/full.yaml").write_text(
        "experiments: [daily/$(touch pwned)]\nbudgets: [6k]\nseeds: [42]\n"
    )
    run(study, "snakemake", "results/daily/$(touch pwned)/data.md5")
    assert (study / "results/daily/$(touch pwned)/data.md5").is_file()
    assert not list(study.rglob("pwned"))

"""docs/your-own.md is typed from top to bottom, in a small copy of the repository."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from scaling.record import read_json
from tests.miniature import REPOSITORY
from tests.reader import Reader


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_page_can_be_typed_from_top_to_bottom(ladder: Path, tmp_path: Path) -> None:
    reader = Reader(Path(shutil.copytree(ladder, tmp_path, dirs_exist_ok=True)), "your-own")
    registered = pd.read_parquet(tmp_path / "data/raw/SPY.parquet").index[-1].date()
    *_, latest, table = reader.commands("A forecast")
    assert f"at the close of {registered}, for the trading day after {registered}: " in latest
    assert len(table.splitlines()) == 1 + 20

    reader.commands("An export")
    assert "| test | " in (tmp_path / "exported/20k/README.md").read_text()
    assert f": {100 * float(reader.program('An export')):.1f} %, recalibrated" in latest

    longer = pd.read_parquet(REPOSITORY / "data/raw/SPY.parquet").iloc[:1410]
    longer.to_csv(tmp_path / "newer.csv")
    assert f"at the close of {longer.index[-1].date()}" in reader.commands("Newer days")[-1]

    assert "base rate before these days: 0." in reader.program("Somebody else's ladder")
    reader.commands("Somebody else's ladder")
    law = read_json(tmp_path / "theirs.json")
    assert law["ladder"]["axes"]["parameters"]["verdict"] == "improves"
    assert law["ladder"]["sentence"] in (tmp_path / "theirs.html").read_text()

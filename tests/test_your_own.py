"""docs/your-own.md is typed from top to bottom, in a copy with the small study of the miniature."""

import re
from pathlib import Path

import pandas as pd
import pytest

from scaling.record import read_json
from tests.miniature import REPOSITORY, make_miniature, run
from tests.test_docs import blocks, lines_typed

PAGE = Path("docs/your-own.md").read_text()
# The page's networks take minutes to train, these take seconds.
SMALL = {"daily/threshold_1pct": "daily/tiny", "2m": "20k"}


class Reader:
    """Somebody who types what a section of the page says, in `place`."""

    def __init__(self, place: Path) -> None:
        self.place, self.page = place, PAGE
        for shipped, small in SMALL.items():
            self.page = self.page.replace(shipped, small)

    def section(self, heading: str) -> str:
        parts = re.split(r"^## ", self.page, flags=re.M)
        return next(part for part in parts if part.startswith(heading))

    def commands(self, heading: str) -> list[str]:
        """What each command of a section prints."""
        typed = lines_typed(self.section(heading))
        assert typed
        return [run(self.place, *command).stdout for command in typed]

    def program(self, heading: str) -> str:
        """What the Python program of a section prints."""
        found = [code for language, code in blocks(self.section(heading)) if language == "python"]
        assert len(found) == 1
        return run(self.place, "python", "-c", found[0]).stdout


@pytest.mark.slow
def test_the_page_can_be_typed_from_top_to_bottom(tmp_path: Path) -> None:
    reader = Reader(make_miniature(tmp_path))
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
    assert law["verdict"] == "improves"
    assert law["sentence"] in (tmp_path / "theirs.html").read_text()

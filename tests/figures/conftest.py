"""One planted study and its report, made once."""

import shutil
from pathlib import Path

import pytest

from scaling import report
from scaling.figures import svg
from tests.conftest import MakeOnce
from tests.figures.planted_study import flags_of, make_study


@pytest.fixture(scope="session")
def made(make_once: MakeOnce) -> Path:
    """The folder of a sound study with its report, to be read only."""

    def make(root: Path) -> None:
        make_study(root)
        report.main(flags_of(root))

    return make_once("report", make)


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


@pytest.fixture
def study(copy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, whose page is made again without drawings, which take most of a report's time."""
    monkeypatch.setattr(svg, "to_svg", lambda figure, name: svg.Svg("<svg></svg>", "<svg/>"))
    return copy

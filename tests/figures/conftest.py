"""One planted study and its report, made once."""

import shutil
from pathlib import Path

import pytest

from scaling import report
from tests.figures.planted_study import flags_of, make_study


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sound study with its report, to be read only."""
    root = tmp_path_factory.mktemp("report")
    make_study(root)
    report.main(flags_of(root))
    return root


@pytest.fixture
def study(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(made, tmp_path / "copy"))

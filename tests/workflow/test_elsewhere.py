"""The workflow serves a study that lies elsewhere, by `--directory` and as a module."""

from pathlib import Path

import pytest

from tests.miniature import make_miniature, run

STAMP = "results/daily/tiny/data.md5"
OUTER = """\
module scaling:
    snakefile: "{repository}/workflow/Snakefile"
    config: {{"experiments": ["daily/tiny"], "budgets": ["6k", "20k"], "seeds": [42]}}

use rule * from scaling as scaling_*
"""


@pytest.mark.slow
def test_configs_and_data_lie_in_the_working_directory_and_the_library_beside_the_snakefile(
    tmp_path: Path,
) -> None:
    repository, study = make_miniature(tmp_path / "repository"), tmp_path / "study"
    study.mkdir()
    for folder in ("configs", "data"):
        (repository / folder).rename(study / folder)
    command = repository / "scaling/check_data.py"
    command.write_text("open('this library', 'w').close()\n" + command.read_text())
    run(repository, "snakemake", STAMP, "--directory", str(study))
    assert (study / "this library").exists()
    (study / "this library").unlink()
    (study / STAMP).unlink()
    (study / "Snakefile").write_text(OUTER.format(repository=repository))
    run(study, "snakemake", STAMP, "--cores", "1")
    assert (study / "this library").exists()

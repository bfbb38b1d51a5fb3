"""`snakemake --sdm conda` makes an environment of the pinned packages and runs the rules in it."""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.miniature import REPOSITORY, environment, make_miniature

PINS = Path("constraints.txt").read_text()
SCRIPT = Path("workflow/envs/scaling.post-deploy.sh")
STAMP = "results/daily/tiny/data.md5"
# No conda could be had here. This stands in for it as far as Snakemake calls it. An environment is
# a fresh venv with pip, and the packages of the pins come from where the test itself has them.
CONDA = """\
#!/usr/bin/env bash
set -euo pipefail
case "$*" in
--version) echo conda 24.7.1 ;;
"info --json") echo '{{"conda_prefix": "{base}", "platform": "linux-64"}}' ;;
"config --get"*) echo '{{"get": {{"channel_priority": "strict"}}}}' ;;
"env create"*)
    grep --quiet "python=3.11" "${{@: -3:1}}"
    {python} -m venv "${{@: -1}}"
    own=$(echo "${{@: -1}}"/lib/python*/site-packages)
    rm -rf "$own"/setuptools*  # that of Python 3.11 is too old to build anything
    echo {packages} > "$own/packages.pth" ;;
"clean -y --tarballs") ;;
*) echo "conda $*: not expected" >&2; exit 1 ;;
esac
"""


def test_the_script_is_another_one_when_a_pin_changes() -> None:
    digest = hashlib.sha256(PINS.encode()).hexdigest()
    assert f"# sha256 of constraints.txt: {digest}\n" in SCRIPT.read_text(), (
        f"write {digest} into {SCRIPT}; otherwise Snakemake keeps an environment with the old pins"
    )


@pytest.mark.slow
def test_snakemake_installs_the_pins_from_its_working_directory_and_runs_the_rules_there(
    tmp_path: Path,
) -> None:
    study = make_miniature(tmp_path / "study")
    for name in ("constraints.txt", "pyproject.toml", "README.md"):
        shutil.copy(REPOSITORY / name, study)
    conda = tmp_path / "bin/conda"
    conda.parent.mkdir()
    packages = sysconfig.get_path("purelib")
    conda.write_text(CONDA.format(base=tmp_path, python=sys.executable, packages=packages))
    conda.chmod(0o755)
    conda.with_name("activate").write_text('. "$1/bin/activate"\n')
    # pip reads the 0 of "no build isolation" as "no isolation": setuptools is there already.
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_FIND_LINKS": ""}
    path = os.pathsep.join([str(conda.parent), environment()["PATH"]])
    done = subprocess.run(
        ["snakemake", STAMP, "--sdm", "conda"],
        cwd=study,
        env={**environment(), **offline, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (study / STAMP).is_file()
    [made] = (study / ".snakemake/conda").glob("*.env_setup_done")
    where = [made.with_suffix("") / "bin/python", "-c", "import scaling; print(scaling.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(study / "scaling/__init__.py")

"""A forked process is what the command would have been by itself, and none of its ends is lost."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests import preloaded
from tests.miniature import environment, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks a process with torch"),
]


def start(program: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """The program as a process of its own."""
    command, env = ("python", "-c", program, *arguments), environment(preloaded.commands())
    return subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, **options)


def test_it_has_the_words_files_folder_and_environment_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOLD", "by the caller")
    program = "import os, sys; print(sys.argv, os.getcwd(), os.environ['TOLD'], sys.stdin.read())"
    process = start(program, "a b", "c", cwd=tmp_path, stdin=subprocess.PIPE)
    said = f"['-c', 'a b', 'c'] {tmp_path} by the caller typed\n"
    assert process.communicate("typed") == (said, None)


def test_the_library_is_the_one_that_stands_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "scaling").mkdir()
    (tmp_path / "scaling/__init__.py").touch()
    (tmp_path / "scaling/here.py").write_text("print('ours', __name__)")
    assert run(tmp_path, "python", "-m", "scaling.here").stdout == "ours __main__\n"


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("", 0),
        ("import sys; sys.exit(75)", 75),
        ("import sys; sys.exit('a reason')", 1),
        ("1 / 0", 1),
        ("import os; os.abort()", -signal.SIGABRT),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL),
    ],
)
def test_it_ends_as_the_command_would(tmp_path: Path, program: str, code: int) -> None:
    done = run(tmp_path, "python", "-c", program, check=False)
    assert done.returncode == code
    assert ("ZeroDivisionError" in done.stderr) == (program == "1 / 0")


WAITS = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
print(os.getpid(), flush=True)
time.sleep(600)
"""


def test_a_signal_reaches_it() -> None:
    process = start(WAITS)
    assert process.stdout and process.stdout.readline()
    process.terminate()
    process.communicate()
    assert process.returncode == 3


def test_it_does_not_outlive_a_kill() -> None:
    process = start(WAITS)
    assert process.stdout
    forked = int(process.stdout.readline())
    process.kill()
    process.communicate()
    while Path(f"/proc/{forked}").exists():
        time.sleep(0.01)  # one that lives on runs into the test's time limit


def test_what_it_starts_is_forked_as_well() -> None:
    program = "import subprocess, sys; subprocess.run([sys.executable, '-c', {!r}])"
    process = start(program.format("import sys; print('torch' in sys.modules)"))
    assert process.communicate()[0] == "True\n"

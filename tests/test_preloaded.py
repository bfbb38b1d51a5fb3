"""A forked process is what the command would have been by itself, and none of its ends is lost."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import preloaded
from tests.miniature import environment, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks a process with torch"),
]


def start(program: str) -> subprocess.Popen[str]:
    """The program as a process of its own."""
    command, env = ("python", "-c", program), environment(preloaded.commands())
    return subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE)


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

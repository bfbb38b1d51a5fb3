"""Processes that need not import: `python -m`, `python -c` and `snakemake`, forked from a server.

A process of the workflow imports for seconds and works for tenths of one, and the tests start
hundreds. The server imports once what others wrote. For each process it forks a child, in which the
command runs as it would by itself: its own directory, environment and streams, and the library of
this project that stands there, which the server never imports. What a package reads of the
environment as soon as it is imported is the server's, however.
"""

import atexit
import contextlib
import fcntl
import functools
import gc
import importlib
import json
import multiprocessing
import os
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import Any

# What the commands import and takes more than a tenth of a second.
HEAVY = (
    *("snakemake.cli", "snakemake.workflow", "snakemake.dag", "snakemake.scheduling.job_scheduler"),
    *("torch._dynamo", "transformers.models.patchtst.modeling_patchtst", "pyarrow.parquet"),
    *("transformers.models.patchtsmixer.modeling_patchtsmixer", "pandas", "scipy.stats", "talib"),
    *("sklearn.ensemble", "sklearn.linear_model", "sklearn.pipeline", "arch.univariate"),
    *("matplotlib.pyplot", "matplotlib.backends.backend_svg", "holidays", "pydantic", "psutil"),
)
# In place of `python` and `snakemake`: hands over all that a process has, forwards the signals it
# gets, and ends as the other one. What is not for the server is run by the interpreter itself.
CLIENT = """\
import json, os, signal, socket, sys
def is_open(number):
    try:
        return bool(os.fstat(number))
    except OSError:
        return False
files = [number for number in map(int, os.listdir("/dev/fd")) if is_open(number)]
name, *words = sys.argv[1:]
while words and (words[0] in ("-B", "-P", "-u") or words[0].startswith("-W")):
    words.pop(0)  # what multiprocessing and torchrun add
if name == "python" and words[:1] not in (["-m"], ["-c"]):
    os.execv({python!r}, [{python!r}, *sys.argv[2:]])
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
forwarded = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
for number in forwarded:
    signal.signal(number, lambda number, frame: server.send(bytes([number])))
words = words if name == "python" else ["-m", name, *words]
told = {{"words": words, "cwd": os.getcwd(), "environment": dict(os.environ), "files": files}}
message = json.dumps(told).encode()
socket.send_fds(server, [len(message).to_bytes(4, "big")], files)
server.sendall(message)
code = int(server.recv(8) or 1)
if code < 0:
    if -code in forwarded:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@functools.cache
def commands() -> Path:
    """The folder, for the front of the path, of a `python` and a `snakemake` that need not import.

    The server is this process's, and ends with it. macOS cannot fork a process with Metal: there
    it is the folder of the interpreter's own.
    """
    if sys.platform != "linux":
        return Path(sys.executable).parent
    folder = Path(tempfile.mkdtemp(prefix="preloaded-"))
    address = str(folder / "socket")
    client = folder / "client.py"
    client.write_text(CLIENT.format(python=sys.executable, address=address))
    for name in ("python", "snakemake"):
        command = folder / name
        command.write_text(f"#!/bin/sh\nexec '{sys.executable}' -IS '{client}' {name} \"$@\"\n")
        command.chmod(0o755)
    # Its standard input is a pipe from this process, which closes however this one ends.
    server = subprocess.Popen(
        [sys.executable, "-P", __file__, address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"},
    )
    assert server.stdout and server.stdout.readline() == b"ready\n"
    atexit.register(server.communicate)
    return folder


def serve(address: str) -> None:
    """Fork a process for each client, until the standard input closes."""
    for name in HEAVY:
        importlib.import_module(name)
    gc.freeze()  # a child that collects would copy all of it
    with socket.socket(socket.AF_UNIX) as listening, selectors.DefaultSelector() as ready:
        listening.bind(address)
        listening.listen(64)
        for source in (listening, sys.stdin):
            ready.register(source, selectors.EVENT_READ)
        print("ready", flush=True)
        while sys.stdin not in [key.fileobj for key, _ in ready.select()]:
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            client = listening.accept()[0]
            if os.fork() == 0:
                listening.close()
                return attend(client)
            client.close()


def attend(client: socket.socket) -> None:
    """Fork the process that `client` stands for, pass on its signals, and tell how it ended."""
    size, files, *_ = socket.recv_fds(client, 4, 64)
    told = json.loads(client.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL))
    child = os.fork()
    if child == 0:
        client.close()
        return become(told, files)
    for number in files:
        os.close(number)
    ended = threading.Event()
    threading.Thread(target=pass_on, args=(client, child, ended), daemon=True).start()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    ended.set()
    with contextlib.suppress(BrokenPipeError):
        client.send(str(status).encode())
    os._exit(0)


def pass_on(client: socket.socket, child: int, ended: threading.Event) -> None:
    """Send a child the signals that its client gets; a client that is gone takes it along."""
    with contextlib.suppress(ConnectionResetError):
        while number := client.recv(1):
            os.kill(child, number[0])
    if not ended.is_set():
        os.kill(child, signal.SIGKILL)


def become(told: dict[str, Any], files: list[int]) -> None:
    """Run the command as the process that was asked for, in this one, and end with it.

    What it starts as `sys.executable` is forked in the same way. The files keep the numbers that
    they had there, because the processes of `multiprocessing` are told them.
    """
    aside = [fcntl.fcntl(file, fcntl.F_DUPFD, 256) for file in files]
    for file in files:
        os.close(file)
    for file, number in zip(aside, told["files"], strict=True):
        os.dup2(file, number)
        os.close(file)
    sys.executable = sys.argv[1].replace("socket", "python")
    multiprocessing.set_executable(sys.executable)
    os.chdir(told["cwd"])
    os.environ.clear()
    os.environ.update(told["environment"])
    how, what, *arguments = told["words"]
    path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [told["cwd"], *filter(None, path)]
    sys.argv = [how, *arguments]
    code: Any = 0
    try:
        if how == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(what, {"__name__": "__main__"})
    except SystemExit as ended:
        code = ended.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    # To take all those modules down again would cost half a second.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
    shutil.rmtree(Path(sys.argv[1]).parent)  # a worker of xdist has no time to do so

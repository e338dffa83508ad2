"""A process that has imported MONAI, torch and the rest, and forks for every command: imports are most of a short run.

``python -m tests.docs.zygote SOCKET`` waits for a module, its arguments, folder, environment and three files, runs the
module in a child as ``python -m`` would, and answers with its exit status.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import socket
import sys
import time
from pathlib import Path
from typing import NoReturn

#: The variable that says where one waits.
ADDRESS = "COMMANDS_ZYGOTE"
MODULES = ("monai.bundle", "medvlp_toolkit.cli.main")


def serve(address: str) -> NoReturn:
    import ignite.engine  # noqa: F401
    import monai.bundle
    import monai.engines  # noqa: F401
    import sklearn.metrics  # noqa: F401
    import transformers  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are waited for by those that answer
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        while True:
            connection, _ = listening.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                answer(connection)
            connection.close()


def answer(connection: socket.socket) -> NoReturn:
    """Run what is asked in a child of its own, and say how it ended."""
    message, files, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    asked = json.loads(message)
    child = os.fork()
    if child == 0:
        for place, file in enumerate(files):
            os.dup2(file, place)
        os.chdir(asked["folder"])
        os.environ.clear()
        os.environ.update(asked["environment"])
        module, *arguments = asked["command"]
        paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:] = [asked["folder"], *paths, *(path for path in sys.path[1:] if path not in paths)]
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        sys.exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    connection.sendall(str(status).encode())
    os._exit(0)


def ask(module: str, arguments: list[str]) -> int:
    """The exit status of a module's run; its output is this process's own."""
    with socket.socket(socket.AF_UNIX) as connection:
        while not Path(os.environ[ADDRESS]).exists():  # it imports still
            time.sleep(0.2)
        connection.connect(os.environ[ADDRESS])
        asked = {"command": [module, *arguments], "folder": str(Path.cwd()), "environment": dict(os.environ)}
        socket.send_fds(connection, [json.dumps(asked).encode()], [0, 1, 2])
        return int(connection.recv(64) or b"1")


if __name__ == "__main__":
    serve(sys.argv[1])

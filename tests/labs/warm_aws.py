"""The AWS CLI, loaded once for many commands: a page's `aws` is a fork of a process that has it.

To load the CLI is most of what a command of it costs, and pages have hundreds. Nothing of it is
replaced: each fork runs the CLI's own main with the words, folder, variables and streams that it
is given. Both halves run in the CLI's own Python, and stand here without anything of the project:

    python warm_aws.py serve SOCKET        until standard input ends
    python -S warm_aws.py SOCKET WORD...   one command
"""

from __future__ import annotations

import importlib
import marshal
import os
import select
import signal
import socket
import sys
from typing import NoReturn

STREAMS = 3


def ask(address: str, words: list[str]) -> int:
    """Let the server run a command on this process's streams; give its exit code."""
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(address)
        socket.send_fds(link, [b"+"], range(STREAMS))
        link.sendall(marshal.dumps((words, os.getcwd(), dict(os.environ))))  # noqa: PTH109 - slow to load
        link.shutdown(socket.SHUT_WR)
        code = link.recv(1)
    return code[0] if code else 255


def serve(address: str) -> None:
    """Load the CLI, say so, and fork for each command that is asked for."""
    from awscli import clidriver  # type: ignore[import-not-found]

    clidriver.create_clidriver()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)  # noqa: T201
        while sys.stdin not in select.select([sys.stdin, listener], [], [])[0]:
            link, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _answer(link)
            link.close()


def _answer(link: socket.socket) -> NoReturn:
    import awscli
    from awscli import clidriver

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    code = 255
    try:
        _, streams, _, _ = socket.recv_fds(link, 1, STREAMS)
        with link.makefile("rb") as asked:
            words, folder, variables = marshal.load(asked)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(variables)
        # It adds its folder to the variables when it is loaded.
        importlib.reload(awscli)
        sys.argv = ["aws", *words]
        code = clidriver.main()
        sys.stdout.flush()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except Exception:
        sys.excepthook(*sys.exc_info())
    finally:
        link.send(bytes([code]))
        os._exit(code)


if __name__ == "__main__":
    first, *others = sys.argv[1:]
    if first != "serve":
        sys.exit(ask(first, others))
    serve(*others)

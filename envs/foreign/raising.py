"""What an environment does besides returning: it raises, exits, or ends the process that it is in."""

import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing import parent_process

PATIENCE_S = 20.0  # that a child process is waited for


def is_of_environment(error: BaseException) -> bool:
    """Whether an environment raised this, and not the person who ends the program.

    Some call `sys.exit` where a window is closed, some raise KeyboardInterrupt. The command line's own handler of
    signals gives KeyboardInterrupt the number of the signal; Python's own gives it nothing, as an environment does.
    """
    if isinstance(error, KeyboardInterrupt):
        return not error.args and signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    return isinstance(error, (Exception, SystemExit))


def named(error: BaseException) -> str:
    """What was raised, in words: its type, and what it says."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def fatal_signal(play: Callable[[], object]) -> str:
    """The signal that ends a process which plays, such as `SIGSEGV`; empty where none does.

    It is played in a fork of this process, without a picture: what has been drawn with cannot be shared. A fork that
    takes longer than PATIENCE_S is given up.
    """

    def quietly() -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1), os.dup2(nowhere, 2)
        play()

    status = forked(quietly, PATIENCE_S)
    return signal.Signals(os.WTERMSIG(status)).name if status is not None and os.WIFSIGNALED(status) else ""


def forked(work: Callable[[], int | None], patience_s: float) -> int | None:
    """What `os.waitpid` says of a fork of this process that exits with the status which the work returns: 0 for None,
    and where it raises. None for a fork that takes longer than `patience_s`, and is killed.

    Only on Linux, and not in a worker, whose parent has tried it: elsewhere 0, and nothing is done.
    """
    if sys.platform != "linux" or parent_process() is not None:
        return 0
    child = os.fork()
    if not child:
        _work_and_exit(work)
    ends = time.monotonic() + patience_s
    while time.monotonic() < ends:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _work_and_exit(work: Callable[[], int | None]) -> None:
    gc.disable()  # nothing of the parent's, such as a GL context, may be freed here
    status = 0
    try:
        status = work() or 0
    finally:
        os._exit(status)

"""What an environment does besides returning: it raises, exits, or ends the process that it is in."""

import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing import parent_process

PATIENCE_S = 20.0  # that a child process is waited for
_NO, _YES = 10, 11  # exit statuses of a fork that answers


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
    """The signal that ends a process which plays, such as `SIGSEGV`; empty where none does. See `answer_of_fork`."""

    def asked() -> bool:
        play()
        return True

    answer = answer_of_fork(asked)
    return answer if isinstance(answer, str) else ""


def answer_of_fork(ask: Callable[[], bool]) -> bool | str | None:
    """What `ask` returns in a fork of this process, or the name of the signal that ends the fork, such as `SIGSEGV`.
    None where nothing was answered: it raised, took longer than PATIENCE_S, or there is no fork (see `forked`).

    Nothing may be drawn in a fork: a GL context of this process cannot be shared, and drawing with it waits for ever.
    """

    def quietly() -> int:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1), os.dup2(nowhere, 2)
        return _YES if ask() else _NO

    status = forked(quietly, PATIENCE_S)
    if status is None:
        return None
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return {_YES: True, _NO: False}.get(os.WEXITSTATUS(status))


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

"""A worker process, seen from its pool: what it is doing, since when, and how it ends."""

import os
import signal
import socket
import struct
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from agent.collect.processes.serving import Call, Pulse, Question, Raised, Returned, serve

END_S = 5.0  # for an idle worker to end by itself
GB = 1e9  # bytes


class Worker:
    """A process, seen from its pool. step_s: of the limits."""

    def __init__(self, context: Any, step_s: float | None):
        self.connection, theirs = context.Pipe()
        self.pulse = Pulse(context)
        self._process = context.Process(target=serve, args=(theirs, self.pulse))
        self._process.start()
        theirs.close()
        self._step_s = step_s
        if step_s:
            _set_timeout(self.connection, step_s)
        self.is_ready = self.is_busy = self.is_worn = False
        self.cause, self.is_own = "", True  # why it was killed, if it was, and whether an environment may be at fault
        self._beats, self._since = 0, None  # since: when it last got on; None while nothing is expected of it

    @property
    def waitable(self) -> list[Any]:
        """Ready when it has sent something or has died; a child of its own may hold its pipe open."""
        return [self.connection, self._process.sentinel]

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    @property
    def is_idle(self) -> bool:
        return self.is_ready and not self.is_busy

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: Any) -> None:
        """Of a worker that has died, the death is noticed later."""
        try:
            self.connection.send(message)
        except (BrokenPipeError, ConnectionResetError):
            pass
        except BlockingIOError:  # see `_set_timeout`
            self.kill(self.hung)

    def call(self, call: Call) -> None:
        self.pulse.clear()
        self.is_busy, self._beats, self._since = True, self.pulse.beats, None  # from its first beat on it is watched
        self.send(call)

    def reply(self, message: Any) -> None:
        self._since = time.monotonic()
        self.send(message)

    def heard(self, message: Any) -> None:
        """Note that it got on, or waits."""
        self.is_ready = True
        if isinstance(message, (Returned, Raised)):
            self.is_busy = False
        self._since = time.monotonic() if self.is_busy and not isinstance(message, Question) else None

    def is_hanging(self) -> bool:
        """Whether it has not got on for too long."""
        now, beats = time.monotonic(), self.pulse.beats
        if beats != self._beats:
            self._beats = beats
            self._since = now if self.is_busy else None
        return self._step_s is not None and self._since is not None and now - self._since > self._step_s

    @property
    def hung(self) -> str:
        """The cause of death of a worker that hangs."""
        return f"hung: limits.step_s = {self._step_s:g} s passed"

    def memory_gb(self) -> float:
        """[GB] of resident memory."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):  # it has died
            return 0.0
        return pages * os.sysconf("SC_PAGE_SIZE") / GB

    def kill(self, cause: str, is_own: bool = True) -> None:
        self.cause, self.is_own = cause, is_own
        self._process.kill()

    def end(self) -> int | None:
        """Close its pipe, wait until it ends, kill it if it does not; returns its exit status."""
        self.connection.close()
        self._process.join(END_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        status = self._process.exitcode
        self._process.close()
        return status


def why(status: int | None) -> str:
    """How a process ended, by its exit status."""
    if status is None or status >= 0:
        return f"ended with status {status}"
    hints = {signal.SIGKILL: "out of memory?", signal.SIGSEGV: "segmentation fault"}
    try:
        hint = hints.get(signal.Signals(-status)) or signal.Signals(-status).name
    except ValueError:  # a real-time signal has no name
        return f"was killed by signal {-status}"
    return f"was killed by signal {-status} ({hint})"


def _set_timeout(connection: Connection, seconds: float) -> None:
    """A process that stops in the middle of a message must not stop the one that reads or writes it.

    After so long without a byte, reading and writing raise BlockingIOError.
    """
    timeval = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
    with socket.socket(fileno=os.dup(connection.fileno())) as end:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            end.setsockopt(socket.SOL_SOCKET, option, timeval)

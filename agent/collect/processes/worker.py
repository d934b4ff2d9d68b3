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
SLOW = 10  # times limits.step_s, for a worker to start, and to load a model: until the first beat of a call
SERVER_TRIES = 5  # to reach the fork server, where it has just been killed
SERVER_WAIT_S = 0.2
LOST = 255  # the exit status of a process whose fork server was killed, so that nobody knows the status
GB = 1e9  # bytes


class Worker:
    """A process, seen from its pool. step_s: of the limits."""

    def __init__(self, context: Any, step_s: float | None):
        self.connection, theirs = context.Pipe()
        self.pulse = Pulse(context)
        self._process = context.Process(target=serve, args=(theirs, self.pulse))
        _start(self._process)
        theirs.close()
        self._step_s = step_s
        if step_s:
            _set_timeout(self.connection, step_s)
        self.is_ready = self.is_busy = self.is_worn = False
        self.cause, self.is_own = "", True  # why it was killed, if it was, and whether an environment may be at fault
        self._since: float | None  # when it last got on; None while nothing is expected of it
        self._expect(SLOW)

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
        self.is_busy = True
        self._expect(SLOW)
        self.send(call)

    def reply(self, message: Any) -> None:
        self._expect()
        self.send(message)

    def heard(self, message: Any) -> None:
        """Note that it got on, or waits."""
        self.is_ready = True
        if isinstance(message, (Returned, Raised)):
            self.is_busy = False
        if self.is_busy and not isinstance(message, Question):
            self._expect()
        else:
            self._since = None

    def _expect(self, times: int = 1) -> None:
        """From now on, it is to get on within so many times step_s."""
        self._times, self._beats, self._since = times, self.pulse.beats, time.monotonic()

    def is_hanging(self) -> bool:
        """Whether it has not got on for too long."""
        if self._since is None or self._step_s is None:
            return False
        if self.pulse.beats != self._beats:
            self._expect()
        return time.monotonic() - self._since > self._times * self._step_s

    @property
    def hung(self) -> str:
        """The cause of death of a worker that hangs."""
        limit = f"limits.step_s = {self._step_s:g} s passed"
        return f"hung as it started or loaded a model: {SLOW} times {limit}" if self._times > 1 else f"hung: {limit}"

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


def _start(process: Any) -> None:
    """Start a process. Another fork server takes the place of one that was killed, once the system has noticed."""
    for left in reversed(range(SERVER_TRIES)):
        try:
            process.start()
            return
        except (ConnectionError, EOFError):
            if not left:
                raise
            time.sleep(SERVER_WAIT_S)


def why(status: int | None) -> str:
    """How a process ended, by its exit status."""
    if status == LOST:
        return f"ended with status {LOST} (killed with its fork server?)"
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

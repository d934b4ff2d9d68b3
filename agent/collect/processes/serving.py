"""What runs in a worker process: it answers calls, and shows its pool that it gets on."""

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

INTERRUPTS = (signal.SIGINT, signal.SIGTERM)  # sent to the whole process group, they are the parent's to handle


class Pulse:
    """Numbers that a worker writes and its pool reads, also after the worker's death.

    beats: grows whenever the worker gets on. begun: starts begun in this call. at: the index of the start whose
    environment is at work, or None.
    """

    def __init__(self, context: Any):
        self._numbers = context.RawArray("q", 3)  # beats, begun, index + 1

    @property
    def beats(self) -> int:
        return self._numbers[0]

    @property
    def begun(self) -> int:
        return self._numbers[1]

    @property
    def at(self) -> int | None:
        return self._numbers[2] - 1 if self._numbers[2] else None

    def beat(self) -> None:
        self._numbers[0] += 1

    def begin(self) -> int:
        """Another start begins; returns its index."""
        self._numbers[1] += 1
        self.touch(self._numbers[1] - 1)
        return self._numbers[1] - 1

    def touch(self, index: int) -> None:
        """The environment of this start is at work."""
        self._numbers[2] = index + 1
        self.beat()

    def rest(self) -> None:
        """No environment is at work."""
        self._numbers[2] = 0
        self.beat()

    def clear(self) -> None:
        """Another call begins."""
        self._numbers[1] = self._numbers[2] = 0


@dataclass(frozen=True)
class Call:
    """A function of a module, and its arguments, for a worker. checkpoint: a folder that it reads."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    checkpoint: Path | None = None


@dataclass(frozen=True)
class Ready:
    """A worker has started."""


@dataclass(frozen=True)
class Returned:
    """The result of a call."""

    value: Any


@dataclass(frozen=True)
class Raised:
    """What a call raised."""

    error: Exception


class Question:
    """A message after which the worker waits for a reply."""


_here: tuple[Connection, Pulse] | None = None


def here() -> tuple[Connection, Pulse] | None:
    """This process's pipe to the pool, and its pulse; None in a process that is no worker."""
    return _here


def beat() -> None:
    """This process gets on, if it is a worker."""
    if _here:
        _here[1].beat()


@contextmanager
def through(connection: Any) -> Iterator[None]:
    """In the block, `here` has this connection, which is around this process's pipe."""
    global _here
    before, _here = _here, (connection, _here[1])
    try:
        yield
    finally:
        _here = before


def serve(connection: Connection, pulse: Pulse) -> None:
    """Answer calls until the pool closes the pipe."""
    global _here
    _here = connection, pulse
    for number in INTERRUPTS:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTS)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send(Ready())
        while True:
            connection.send(_answer(connection.recv_bytes()))


def _end_with_parent() -> None:
    """Exit when the parent does: a parent that is killed cannot stop its workers."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _answer(pickled: bytes) -> Returned | Raised:
    try:
        call: Call = pickle.loads(pickled)
        return Returned(call.function(*call.args))
    except Exception as error:  # whatever a call raises is raised in the parent
        error.add_note(f"in a worker:\n{traceback.format_exc()}")
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # whatever an error's class does when it is made again
            error = RuntimeError(f"{type(error).__name__}: {error}")
        return Raised(error)

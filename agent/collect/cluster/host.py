"""A Ray actor with one worker process, or that of a replica of the policy, which it watches and replaces as the pool of
one machine does.

The environments run in that process, not in the actor: a crash of theirs costs 0.02 s instead of an actor, and its
`Pulse` says which episode was at work.
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.collect.cluster.envelopes import Died, Opening, Sealed, SealedQuestion
from agent.collect.cluster.weights import Files
from agent.collect.processes.pool import Death, Pool
from agent.collect.processes.serving import Raised, Returned
from agent.config import Limits

LINGER_S = 0.1  # that messages wait for others, or as long as the pool waits for one
FULL = 1 << 20  # bytes of messages that wait no longer
PASSED_ON = ("HF_HUB_OFFLINE", "MUJOCO_GL", "OMP_WAIT_POLICY", "TOKENIZERS_PARALLELISM")


@dataclass(frozen=True)
class Setting:
    """Of the run's process, for its workers. preload: a module with what they import. folder: the working one.
    sees_gpus: those that Ray gives the actor.
    """

    limits: Limits
    preload: str
    folder: str
    import_paths: tuple[str, ...]
    variables: Mapping[str, str]
    sees_gpus: bool

    @classmethod
    def here(cls, limits: Limits, preload: str, sees_gpus: bool) -> "Setting":
        variables = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        return cls(limits, preload, os.getcwd(), tuple(sys.path), variables, sees_gpus)

    def take_on(self) -> None:
        """In an actor. The fork server and its workers inherit this.

        An actor without a GPU sees all GPUs of its machine since Ray's pull request 62492. None is for a worker: a
        model that needs one acts in a replica, or in the run's process.
        """
        if Path(self.folder).is_dir():  # paths in a config are relative to it
            os.chdir(self.folder)
        sys.path += [path for path in self.import_paths if path not in sys.path]
        os.environ.update(self.variables)
        if not self.sees_gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        vars(sys.modules["__main__"]).pop("__file__", None)  # it is Ray's, and each worker would import it


class Host:
    """What the actor does. Its generators yield messages in batches, until the call has ended or asks something."""

    def __init__(self, setting: Setting):
        setting.take_on()
        self._pool = Pool(1, setting.limits, setting.preload)
        self._call: _Call | None = None

    def hello(self) -> None:
        """The actor has started."""

    def begin(self, call: bytes) -> Iterator[list[Any]]:
        """Let the worker answer a call that is `envelopes.sealed`."""
        self._call = _Call(call)
        yield from self._messages(None)

    def go_on(self, reply: bytes | Files) -> Iterator[list[Any]]:
        """Reply to the question that the generator before ended with. Of a checkpoint's files, the path is replied.

        There are no messages where the call has ended since: its worker died as it asked.
        """
        yield from self._messages(reply)

    def close(self) -> None:
        self._pool.close()

    def _messages(self, reply: bytes | Files | None) -> Iterator[list[Any]]:
        call = self._call
        try:
            if reply is not None:
                call.answer(reply.unpacked() if isinstance(reply, Files) else Opening(reply))
            while not call.rests:
                self._pool.run(call)
                yield call.take_said()
        except Exception as error:  # whatever a call raises is raised in the run's process
            yield [*call.take_said(), Raised(error)]


class _Call:
    """The work of the actor's pool: one call. It is `done` whenever there are messages to hand on.

    Messages that nobody waits for go together: one takes Ray as long as many.
    """

    def __init__(self, call: bytes):
        self._waiting: bytes | None = call
        self._said: list[Any] = []
        self._bytes, self._since = 0, 0.0  # of these, and when the first of them came
        self._reply: Any = None
        self.rests = False  # until there is a reply, or another call
        self._has_ended = False

    @property
    def is_done(self) -> bool:
        late = self._said and time.monotonic() - self._since > LINGER_S
        return bool(self.rests or late or self._bytes > FULL)

    def take_said(self) -> list[Any]:
        said, self._said, self._bytes = self._said, [], 0
        return said

    def take(self, worker: int) -> Any:
        call, self._waiting = self._waiting, None
        return None if call is None else Opening(call)

    def heard(self, worker: int, message: Sealed) -> None:
        if not self._said:
            self._since = time.monotonic()
        self._said.append(message)
        self._bytes += len(message.data)
        self.rests = isinstance(message, SealedQuestion)

    def returned(self, worker: int, value: Sealed) -> None:
        self._said.append(Returned(value))
        self.rests = self._has_ended = True

    def died(self, worker: int, death: Death) -> None:
        self._said.append(Died(death))
        self.rests = self._has_ended = True

    def answer(self, reply: Any) -> None:
        """To the worker's question."""
        if not self._has_ended:
            self._reply, self.rests = reply, False

    def replies(self) -> dict[int, Any]:
        if self._reply is None:
            return {}
        reply, self._reply = self._reply, None
        return {0: reply}

    def vacate(self, worker: int) -> None:
        """Of one's own pool, there always is a worker."""

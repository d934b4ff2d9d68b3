"""Requests that wait at the same time become one call of the model, in the one thread that runs torch."""

import logging
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from jinja2 import TemplateError

from agent.serve.protocol import Answers, Odds, RefusedError
from envs.errors import UserError
from policies.backend import Backend
from policies.threads import torch_threads

GATHER_S = 0.005  # an idle model waits as long for a further request before it begins
LEAST_LOGPROB = -9999.0  # JSON has no infinity; vLLM's number
ABOUT_THE_REQUEST = (RefusedError, UserError, ValueError, TemplateError)  # what a backend raises for a bad prompt
log = logging.getLogger("handeye.serve")


@dataclass(frozen=True)
class Change:
    """Something that is done to the model between two calls of it."""

    apply: Callable[[], None]
    rows = 1

    @property
    def key(self) -> tuple:
        return "change", id(self)


@dataclass(frozen=True)
class Work:
    """A request that waits, and its answer to come: texts, or two log-probabilities; None of a change."""

    asked: Answers | Odds | Change
    answer: Future = field(default_factory=Future)


class Tokenizer:
    """A copy of the backend's tokenizer, which other threads than the model's may use."""

    def __init__(self, tokenizer: Any):
        self._tokenizer, self._lock = deepcopy(tokenizer), threading.Lock()
        self.size = len(tokenizer)

    def encode(self, text: str) -> list[int]:
        with self._lock:
            return self._tokenizer(text, add_special_tokens=False)["input_ids"]

    def decode(self, ids: Sequence[int]) -> str:
        """Raises RefusedError for an id that there is not."""
        if ids and max(ids) >= self.size:
            raise RefusedError(f"token {max(ids)}; valid: below {self.size}")
        with self._lock:
            return self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)


class Batcher:
    """A thread that calls the backend. Requests of the same kind (`key`) share a call, the oldest request's first."""

    def __init__(self, act_as: Callable[[str], Backend], tokenizer: Tokenizer, batch: int, threads: int):
        """act_as: the backend that answers as the model of a name, until it is called again. batch: most answers in a
        call. threads: of torch; an answer may depend on their number, in its last bits."""
        self._act_as, self._tokenizer, self._batch, self._threads = act_as, tokenizer, batch, threads
        self._waiting: list[Work] = []
        self._changed, self._ending = threading.Condition(), False
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def queued(self) -> int:
        """Requests whose turn has not come."""
        return len(self._waiting)

    def submit(self, asked: Answers | Odds | Change) -> Future:
        """The answer to come. A future that is cancelled before its turn costs nothing."""
        work = Work(asked)
        with self._changed:
            self._waiting.append(work)
            self._changed.notify()
        return work.answer

    def close(self) -> None:
        """After what is in flight."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        with torch_threads(self._threads):
            while batch := self._next():
                self._answer(batch)

    def _next(self) -> list[Work]:
        """Those that are answered next; none at the end."""
        with self._changed:
            while not self._waiting and not self._ending:
                self._changed.wait()
            while len(self._waiting) < self._batch and not self._ending and self._changed.wait(GATHER_S):
                pass
            if not self._waiting:
                return []
            key = self._waiting[0].asked.key
            fitting = max(1, self._batch // self._waiting[0].asked.rows)
            batch = [work for work in self._waiting if work.asked.key == key][:fitting]
            taken = set(map(id, batch))
            self._waiting = [work for work in self._waiting if id(work) not in taken]
            return batch

    def _answer(self, batch: Sequence[Work]) -> None:
        """Sets their answers. What fails together is tried in halves, down to the request that fails: a bad one must
        not fail those beside it, nor cost a call for each of them."""
        batch = [work for work in batch if work.answer.running() or work.answer.set_running_or_notify_cancel()]
        if not batch:
            return
        try:
            answers = self._ask([work.asked for work in batch])
        except Exception as error:
            if len(batch) > 1:
                half = len(batch) // 2
                self._answer(batch[:half])
                self._answer(batch[half:])
            else:
                if not isinstance(error, ABOUT_THE_REQUEST):
                    log.exception("the model failed")
                batch[0].answer.set_exception(error)
        else:
            for work, answer in zip(batch, answers, strict=True):
                work.answer.set_result(answer)

    def _ask(self, asked: Sequence[Answers | Odds | Change]) -> list[Any]:
        first = asked[0]
        if isinstance(first, Change):
            return [first.apply()]
        backend = self._act_as(first.model)
        if isinstance(first, Answers):
            prefilled = backend.prefill([one.request for one in asked])
            seeds = [range(one.seed, one.seed + one.n) for one in asked]
            return prefilled.generate(first.regex, [first.temperature] * first.n, seeds)
        texts, others = zip(*map(self._texts, asked), strict=True)
        odds = backend.prefill([one.request for one in asked]).odds(texts, others)
        return [(_log(p), _log(1 - p)) for p in odds.tolist()]

    def _texts(self, asked: Odds) -> tuple[str, str]:
        """The beginning of the answer with each of the two tokens after it. Raises RefusedError where these words are
        spelled in other tokens, so that their odds would be those of others."""
        said = self._tokenizer.encode(asked.said)
        texts = tuple(self._tokenizer.decode([*said, token]) for token in asked.pair)
        for text, token in zip(texts, asked.pair, strict=True):
            if self._tokenizer.encode(text) != [*said, token]:
                raise RefusedError(f"token {token} does not stand after {asked.said[-50:]!r} by itself")
        return texts


def _log(p: float) -> float:
    return max(math.log(p), LEAST_LOGPROB) if p > 0 else LEAST_LOGPROB

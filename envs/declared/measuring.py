"""Ranges of state words, measured in play: random actions on seeds of practice, and an expert's where there is one.

The same file gives the same ranges: the seeds are fixed, and bounds are rounded to a few digits. A number that is whole
gets a word for each value, one that takes few values likewise; any other is cut into bins between its quantiles, or
into levels from zero where it goes as far below zero as above.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from math import ceil, floor, log10
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from envs.declared.language import Reader
from envs.declared.numbers import BINS, LEVELS, Form, Number, Parts
from envs.declared.sources import Source
from envs.errors import SimulatorError, UserError, first_line
from envs.foreign.paths import parts as parts_of_path
from envs.foreign.raising import is_of_environment
from envs.snapshot import Restorable
from envs.splits import seeds
from envs.task import Task

EPISODES = 20  # of random play, and as many of the expert
MOST_STEPS = 2000  # decisions of each
FIRST_SEED = 900_000  # of practice: pretraining takes those from 500,000 on, runs those below
OUTLIERS = 0.005  # share of the numbers on each side that the bounds leave out
FEW_VALUES = 12
MANY_TIMES = 10  # that each of few values is met, on average
WHOLE = 64  # whole numbers that have a word each, at most
SYMMETRIC = 0.2  # of the range, by which its middle may be off zero
DIGITS = 3

Act = Callable[[gym.Env], Any]


class Played(NamedTuple):
    """What was seen in play. samples: who played -> what was read at each state. broken: episodes that raised."""

    samples: Mapping[str, list[Any]]
    broken: int


def played(
    task: Task, read: Callable[[Restorable], Any], expert: Act | None = None, episodes: int = EPISODES
) -> Played:
    """What `read` says of each state of random play, and of the expert's. expert: env -> action. Without one,
    no picture is drawn; one may look at those of the task.

    Raises UserError where no episode got past its start.
    """
    samples: dict[str, list[Any]] = {}
    broken, last = 0, ""
    with closing((task if expert else task.with_env(frames=1)).make()) as env:
        for who, act in (("random", None), ("expert", expert)):
            if who == "expert" and expert is None:
                continue
            found = samples.setdefault(who, [])
            for seed in seeds("practice", episodes, FIRST_SEED):
                try:
                    found += _episode(env, seed, act, read, MOST_STEPS - len(found))
                except BaseException as error:
                    if isinstance(error, UserError) or not (
                        isinstance(error, SimulatorError) or is_of_environment(error)
                    ):
                        raise
                    broken, last = broken + 1, first_line(error)
                if len(found) >= MOST_STEPS:
                    break
    if not all(samples.values()):
        raise UserError(f"task {task.name!r} broke in each of {broken} episodes that were to be measured: {last}")
    return Played(samples, broken)


def _episode(
    env: Restorable, seed: int, act: Act | None, read: Callable[[Restorable], Any], most: int
) -> Iterator[Any]:
    env.reset(seed=seed)
    env.action_space.seed(seed)
    yield read(env)
    for _ in range(most - 1):
        _, _, terminated, truncated, _ = env.step(act(env) if act else env.action_space.sample())
        yield read(env)
        if terminated or truncated:
            return


def measured(task: Task, parts: Parts, expert: Act | None = None, episodes: int = EPISODES) -> Parts:
    """The parts, with the ranges that play shows for those numbers that have none.

    task: without words for its state, as `envs.declared.unseen` gives it. Raises UserError for a number that is always
    the same, naming the part.
    """
    seen = played(task, Reader(parts, task.env.cameras[0]), expert, episodes).samples
    with closing(task.make()) as env:
        space = env.observation_space

    def ranged(where: str, i: int, number: Number) -> Number:
        """where: the part."""
        if number.quantisation:
            return number
        met = [np.array([sample[where][i] for sample in each]) for each in seen.values()]
        bounds = _space_bounds(space, number.source)
        form = form_for(met, number.form, bounds, f"sees.{where}.{i} ({number.source})")
        return Number(number.source, form)

    return {name: tuple(ranged(name, i, number) for i, number in enumerate(each)) for name, each in parts.items()}


def form_for(
    samples: Sequence[np.ndarray], given: Form | None = None, bounds: tuple[float, float] | None = None, where: str = ""
) -> Form:
    """The form of a number that was met in play. samples: those of each who played, (n,). given: what of it is decided
    already. bounds: within which the environment says it lies.

    Raises UserError for a number that is always the same.
    """
    given, numbers = given or Form(), np.concatenate(samples)
    if not np.ptp(numbers):
        raise UserError(f"{where} was {numbers[0]:g} in all of play; valid: leave it out, or give low and high")
    is_free = given.bins is None and given.levels is None and given.signed is None
    whole = np.array_equal(numbers, np.rint(numbers))
    if whole and (is_free or given.whole):
        low, high = int(numbers.min()), int(numbers.max())
        if bounds and bounds[1] - bounds[0] < WHOLE:  # play need not reach all of them
            low, high = min(low, ceil(bounds[0])), max(high, floor(bounds[1]))
        if high - low < WHOLE:
            return replace(given, whole=True, low=low, high=high)
    if given.whole:
        raise UserError(f"{where} was {numbers[numbers % 1 != 0][:1] or numbers.max()}; valid: no `whole` for such")
    values = np.unique(numbers)
    if is_free and len(values) <= min(FEW_VALUES, len(numbers) / MANY_TIMES):
        return replace(given, values=tuple(float(f"{value:.{DIGITS + 3}g}") for value in values))
    low, high = bounds_of(samples)
    is_symmetric = low < 0 < high and abs(low + high) / 2 <= SYMMETRIC * (high - low)
    if given.is_signed or (is_free and is_symmetric):
        return replace(given, signed=True, high=max(-low, high), levels=given.levels or LEVELS)
    return replace(given, low=low, high=high, bins=given.bins or BINS)


def bounds_of(samples: Sequence[np.ndarray]) -> tuple[float, float]:
    """Quantiles of whoever went farther, rounded outwards to a hundredth of the range."""
    low = min(float(np.quantile(each, OUTLIERS)) for each in samples)
    high = max(float(np.quantile(each, 1 - OUTLIERS)) for each in samples)
    if low == high:  # what is nearly always the same
        low, high = (float(f(np.concatenate(samples))) for f in (np.min, np.max))
    step = 10.0 ** floor(log10((high - low) / 20))
    digits = max(0, -floor(log10(step)))
    return round(floor(low / step) * step, digits), round(ceil(high / step) * step, digits)


def _space_bounds(space: gym.Space | None, source: Source) -> tuple[float, float] | None:
    """Between which a number of an observation lies, as a space of whole numbers says; None of any other, whose bounds
    are seldom more than a guess."""
    root, *path = [str(part.key) for part in parts_of_path(str(source))] if source.kind == "path" else [""]
    if root != "observation":
        return None
    for depth, step in enumerate(path):
        if not isinstance(space, (gym.spaces.Dict, gym.spaces.Tuple)):
            path = path[depth:]
            break
        inner = space.spaces
        named = inner if isinstance(inner, Mapping) else {str(i): each for i, each in enumerate(inner)}
        space = named.get(step)
    else:
        path = []
    if isinstance(space, gym.spaces.Discrete):
        return float(space.start), float(space.start + space.n - 1)
    if isinstance(space, gym.spaces.MultiBinary):
        return 0.0, 1.0
    if isinstance(space, gym.spaces.MultiDiscrete):
        space = gym.spaces.Box(space.start, space.start + space.nvec - 1, space.shape, np.int64)
    if not isinstance(space, gym.spaces.Box) or len(path) > len(space.shape) or space.dtype.kind == "f":
        return None
    ends = np.array([space.low, space.high], np.float64)[(slice(None), *map(int, path))]
    return (float(ends.min()), float(ends.max())) if ends.size == 2 else None

"""Random play of an environment as Gymnasium makes it, and what it shows: rewards, `info`, endings, pictures."""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np

from envs.errors import UserError
from envs.foreign.frames import VALID
from envs.foreign.making import limit, made
from envs.foreign.raising import fatal_signal, is_of_environment, named
from envs.foreign.spaces import bounded, check_actions
from envs.snapshot import is_physical
from envs.splits import SPLITS
from envs.survey.numbers import Numbers
from envs.survey.smaller import smaller

EPISODES = 100  # of random play, at most
SECONDS = 10.0  # after which no further one begins
MOST_STEPS = 1000  # of an episode without a time limit, and of any
LOOKED_AT = 10  # steps after which a picture is drawn
FEW = 8  # steps that are tried in a process of their own
BOUNDS = (-1.0, 1.0)  # of actions without any, which random play draws from a normal distribution
TOLD = ("mission", "instruction", "language_instruction", "task_description")  # attributes that say what to do


@dataclass
class Seen:
    """One episode. rewards: of each step. highest: key of `info` -> its highest number, of keys that held one number or
    truth value whenever they were there. terminated: by the environment; else its time limit or ours ended it.
    truncated: by a limit of its own."""

    rewards: list[float] = field(default_factory=list)
    highest: dict[str, float] = field(default_factory=dict)
    terminated: bool = False
    truncated: bool = False

    @property
    def total(self) -> float:
        return float(sum(self.rewards))


@dataclass(frozen=True)
class Survey:
    """What random play showed. max_steps: of an episode, as registered; None without. threshold: the return that the
    registry takes for solved. fps: pictures a second of the environment's own films. size: (height, width) [px] of its
    picture, None of MuJoCo, which is drawn here. moves: whether steps change the picture. binary: keys of `info` whose
    numbers were 0 and 1 alone, truth values included. instruction: what the environment says is to be done, if it
    does.
    instruction_at: the path (`envs.foreign.paths`) where it says so. instruction_varies: from start to start.
    bounds: of actions that have none of their own, a guess. still: paths of numbers of the observation that play left
    as they were. hidden: paths of numbers beyond the observation that it changed. smaller: arguments that make slow
    pictures of its own smaller.
    """

    env_id: str
    kwargs: Mapping[str, Any]
    action_space: gym.Space
    observation_space: gym.Space
    episodes: Sequence[Seen]
    broken: str  # what broke an episode first; empty where none broke
    max_steps: int | None
    threshold: float | None
    fps: float | None
    size: tuple[int, int] | None
    moves: bool
    physical: bool
    cameras: tuple[str, ...]
    keys: tuple[str, ...]
    binary: tuple[str, ...]
    instruction: str
    instruction_at: str
    instruction_varies: bool
    bounds: tuple[float, float] | None
    still: frozenset[str]
    hidden: tuple[str, ...]
    smaller: Mapping[str, int] = field(default_factory=dict)

    @property
    def lengths(self) -> tuple[int, int]:
        """Of the shortest and the longest episode [steps]."""
        each = [len(e.rewards) for e in self.episodes]
        return min(each), max(each)

    @property
    def rewards(self) -> tuple[float, float]:
        """The lowest and the highest of a step."""
        each = [reward for e in self.episodes for reward in e.rewards]
        return min(each), max(each)

    @property
    def returns(self) -> tuple[float, float]:
        each = [e.total for e in self.episodes]
        return min(each), max(each)


def survey(env_id: str, kwargs: Mapping[str, Any] | None = None) -> Survey:
    """Raises UserError for an id that cannot be made, actions that have no words, and an environment of which no
    episode can be played or drawn."""
    kwargs = dict(kwargs or {})
    with closing(made(env_id, "", env_id, kwargs)) as env:
        bounds = _bounds(env.action_space)
        if signal := fatal_signal(lambda: _brief(env)):
            raise UserError(f"environment {env_id!r} ends its process with {signal} within its first {FEW} steps")
        notes = _Notes()
        episodes, broken = _play(env, notes)
        if not episodes:
            raise UserError(f"environment {env_id!r} raises in every episode; the first time: {broken}")
        physical = is_physical(env)
        size, moves = (None, True) if physical else _look(env_id, env)
        inner, spec = env.unwrapped, env.spec
        model = getattr(inner, "model", None) if physical else None
        return Survey(
            env_id,
            kwargs,
            env.action_space,
            env.observation_space,
            episodes,
            broken,
            limit(env_id, kwargs),
            spec.reward_threshold if spec else None,
            _number(env.metadata.get("render_fps")),
            size,
            moves,
            physical,
            tuple(model.camera(i).name for i in range(model.ncam)) if model else (),
            tuple(sorted(notes.keys)),
            tuple(sorted(notes.binary())),
            *notes.instruction(),
            bounds,
            notes.numbers.still(),
            notes.numbers.hidden(),
            smaller(env, env_id, kwargs) if size else {},
        )


def _bounds(space: gym.Space) -> tuple[float, float] | None:
    """BOUNDS where actions need some, None where they have their own. Raises UserError where they have no words even
    so."""
    try:
        check_actions(space)
    except UserError as error:
        try:
            check_actions(bounded(space, list(BOUNDS)))
        except UserError:
            raise error from None
        return BOUNDS
    return None


class _Notes:
    """Which keys `info` has, what numbers they held, and what the environment said is to be done."""

    def __init__(self) -> None:
        self.keys, self._other, self._values = set[str](), set[str](), dict[str, set[float]]()
        self.numbers = Numbers()
        self._texts = dict[str, dict[str, None]]()  # path -> the texts there, in their order

    def hear(self, observation: Any, inner: Any) -> None:
        """What is to be done in the episode that has begun, wherever it is said."""
        in_observation = observation.items() if isinstance(observation, Mapping) else ()
        found = {f"observation.{key}": value for key, value in in_observation if str(key).isidentifier()}
        for path, value in (found | {name: getattr(inner, name, None) for name in TOLD}).items():
            if isinstance(value, str) and value.split():
                self._texts.setdefault(path, {})[" ".join(value.split())] = None

    def instruction(self) -> tuple[str, str, bool]:
        """The first text, its path, and whether there were others."""
        for path, texts in self._texts.items():
            return next(iter(texts)), path, len(texts) > 1
        return "", "", False

    def take(self, info: Mapping[Any, Any]) -> dict[str, float]:
        """The numbers in an `info`."""
        found = {}
        for key, value in info.items():
            self.keys.add(str(key))
            number = _number(value)
            if number is None:
                self._other.add(str(key))
                continue
            found[str(key)] = number
            if len(values := self._values.setdefault(str(key), set())) < 3:
                values.add(number)
        return found

    def binary(self) -> set[str]:
        return {key for key, values in self._values.items() if key not in self._other and values <= {0.0, 1.0}}


def _number(value: Any) -> float | None:
    """A number or truth value, which may be an array of no dimensions or of one entry."""
    try:
        value = value.item() if isinstance(value, (np.ndarray, np.generic)) and np.size(value) == 1 else value
    except ValueError:
        return None
    return float(value) if isinstance(value, (bool, int, float)) else None


def _play(env: gym.Env, notes: _Notes) -> tuple[list[Seen], str]:
    """Whole episodes, and what broke another first."""
    ends, episodes, broken = time.monotonic() + SECONDS, [], ""
    env.action_space.seed(0)
    for seed in range(EPISODES):
        try:
            episodes.append(_episode(env, SPLITS["practice"][seed], notes))
        except BaseException as error:
            if not is_of_environment(error):
                raise
            broken = broken or named(error)
        if time.monotonic() > ends:
            break
    return episodes, broken


def _episode(env: gym.Env, seed: int, notes: _Notes) -> Seen:
    seen = Seen()
    observation, _ = env.reset(seed=seed)
    notes.hear(observation, env.unwrapped)
    notes.numbers.look(observation, env, begins=True)
    for _ in range(MOST_STEPS):
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        notes.numbers.look(observation, env, begins=False)
        seen.rewards.append(float(reward))
        for key, number in notes.take(info).items():
            seen.highest[key] = max(number, seen.highest.get(key, number))
        if terminated or truncated:
            seen.terminated, seen.truncated = bool(terminated and not truncated), bool(truncated)
            break
    return seen


def _brief(env: gym.Env) -> None:
    env.reset(seed=0)
    for _ in range(FEW):
        if any(env.step(env.action_space.sample())[2:4]):
            return


def _look(env_id: str, env: gym.Env) -> tuple[tuple[int, int] | None, bool]:
    """(height, width) of the picture, and whether steps change it, in the first episode that does not break.

    Raises UserError where there is none.
    """
    broken = ""
    for seed in SPLITS["practice"][:EPISODES]:
        try:
            return _drawn(env, seed)
        except BaseException as error:
            if not is_of_environment(error):
                raise
            broken = broken or named(error)
    raise UserError(f"environment {env_id!r} cannot be drawn: {broken}; {VALID}")


def _drawn(env: gym.Env, seed: int) -> tuple[tuple[int, int] | None, bool]:
    env.reset(seed=seed)
    before, changed = env.render(), 0
    for _ in range(LOOKED_AT):
        ended = any(env.step(env.action_space.sample())[2:4])
        now = env.render()
        changed += not np.array_equal(np.asarray(before), np.asarray(now))
        before = now
        if ended:
            break
    shape = np.shape(before)
    return (shape[0], shape[1]) if len(shape) == 3 else None, changed > 0

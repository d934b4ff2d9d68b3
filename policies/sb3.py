"""Stable-Baselines3 on a task: what it is trained on, and a trained model as a policy.

It learns from `state`, the environment's own observation, or from `pixels`: frames, instruction and proprioception, as
every multimodal policy is given. A model is a .zip that SB3 saved, here or elsewhere. Such a file holds pickles,
and is code: only what is trusted is loaded (`policies.experts.trust`). Its entries' names and sizes are checked before
one is unpickled. The statistics of a VecNormalize around it are not in it.
"""

import json
import re
import zlib
from collections.abc import Callable, Sequence
from copy import deepcopy
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, ZipInfo

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple
from sb3_contrib import TRPO
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first

from envs.errors import UserError, shown, unknown
from envs.observation import Observation
from envs.splits import SPLITS
from envs.task import Task
from policies.action_codec import codec_for
from policies.base import Decision
from policies.experts import trust
from policies.threads import one_thread

ALGORITHMS = {"ppo": PPO, "sac": SAC, "dqn": DQN, "trpo": TRPO}
SEVERAL = (Box, Discrete, MultiDiscrete, MultiBinary)
ACTIONS = {"ppo": SEVERAL, "sac": (Box,), "dqn": (Discrete,), "trpo": SEVERAL}
OBSERVE = ("state", "pixels")
VALID = f"valid: a .zip that Stable-Baselines3 saved of {', '.join(ALGORITHMS)}"
# How a .zip of each is recognised: the module of its policy's class, which PPO, TRPO and A2C share, and a key.
SAVED = {
    "ppo": ("stable_baselines3.common.policies", "clip_range"),
    "sac": ("stable_baselines3.sac.policies", "target_entropy"),
    "dqn": ("stable_baselines3.dqn.policies", "exploration_schedule"),
    "trpo": ("stable_baselines3.common.policies", "cg_max_steps"),
}
# Entries that only training needs; to play, they need not exist here or fit into memory.
UNUSED = {
    "learning_rate": 0.0,
    "lr_schedule": None,
    "clip_range": 0.0,
    "exploration_schedule": None,
    "buffer_size": 1,
    "replay_buffer_class": None,
    "replay_buffer_kwargs": {},
}
WORDS = 32  # of an instruction, at most
READINGS = 8  # words and numbers of a proprioception, at most
SIGNS = 32  # that stand for a word
DRAWS = 2000  # of practice seeds with a start that is held out, in a row, before training gives up
NUMBER_SCALE = 32  # a number is divided by it; trained .zip files rest on this value
MOST_ENTRIES, MOST_BYTES = 64, 2**31  # of a .zip; an archive of 40 kB can unpack to terabytes
# What zipfile and json raise for an archive that is cut, encrypted, packed otherwise, or of other content.
BROKEN = (BadZipFile, LookupError, TypeError, ValueError, RuntimeError, OSError, EOFError, zlib.error)
SMALLEST = 36  # [px] of a side: SB3's convolutions need as much


def encoded(seen: Observation) -> dict[str, np.ndarray]:
    """An observation as arrays: `frames` (3T, H, W) uint8, oldest first; `instruction` (WORDS, SIGNS + 1) and
    `proprioception` (READINGS, SIGNS + 1) float32, a row for each word in its order.

    A word is hashed to a row of signs, so that no vocabulary is needed. A number is the last of its row,
    divided by NUMBER_SCALE. Raises UserError for a text that is too long.
    """
    frames = seen.frames.transpose(0, 3, 1, 2)
    return {
        "frames": frames.reshape(-1, *frames.shape[2:]),
        "instruction": _rows("instruction", seen.instruction, WORDS),
        "proprioception": _rows("proprioception", seen.proprioception, READINGS),
    }


def _rows(what: str, text: str, n: int) -> np.ndarray:
    words = re.findall(r"[+-]?\d+(?:\.\d+)?|[^\W\d]+", text.lower())
    if len(words) > n:
        raise UserError(f"{what} {text!r} has {len(words)} words; valid for pixels: at most {n}")
    rows = np.zeros((n, SIGNS + 1), np.float32)
    for row, word in zip(rows, words, strict=False):
        if word[-1].isdigit():
            row[-1] = float(word) / NUMBER_SCALE
        else:
            digest = np.frombuffer(blake2b(word.encode(), digest_size=SIGNS // 8).digest(), np.uint8)
            row[:-1] = 2.0 * np.unpackbits(digest) - 1
    return rows


class Pixels(gym.ObservationWrapper[Any, Any, Any]):
    """Observes the task's Observation, `encoded`."""

    def __init__(self, env: gym.Env[Any, Any], task: Task):
        """Begins an episode, to measure a frame. Raises UserError for frames too small for SB3's convolutions."""
        super().__init__(env)
        self.task = task
        env.reset(seed=SPLITS["practice"][0])
        seen = self.observation(None)
        channels, *size = seen["frames"].shape
        if min(size) < max(SMALLEST, channels + 1):
            raise UserError(
                f"frames of {' x '.join(map(str, size))} px of task {task.name!r}; valid for pixels: at least "
                f"{max(SMALLEST, channels + 1)} px"
            )
        texts = {name: Box(-np.inf, np.inf, seen[name].shape) for name in ("instruction", "proprioception")}
        self.observation_space = Dict({"frames": Box(0, 255, seen["frames"].shape, np.uint8), **texts})

    def observation(self, observation: Any) -> dict[str, np.ndarray]:
        return encoded(self.task.observe(self.env))


class State(gym.ObservationWrapper[Any, Any, Any]):
    """Observes the environment's own observation, as `plain` has it."""

    def __init__(self, env: gym.Env[Any, Any]):
        super().__init__(env)
        seen = plain(deepcopy(env.observation_space).sample(), env.observation_space).items()
        self.observation_space = Dict({key: _plain_space(env.observation_space[key], value) for key, value in seen})

    def observation(self, observation: Any) -> dict[str, Any]:
        return plain(observation, self.env.observation_space)


def plain(observation: Any, space: Space[Any]) -> Any:
    """A mapping with its texts as rows of words (`encoded`) and its pictures that are too small for SB3's convolutions,
    such as the cells around an agent, as a row of numbers. Any other observation is as it was."""
    parts = space.spaces.items() if isinstance(space, Dict) else ()
    return {key: _plain_part(key, observation[key], part) for key, part in parts} or observation


def _plain_part(key: str, value: Any, space: Space[Any]) -> Any:
    if isinstance(value, str):
        return _rows(key, value, WORDS)
    return np.asarray(value, np.float32).ravel() if _is_small_picture(space) else value


def _plain_space(space: Space[Any], seen: Any) -> Space[Any]:
    """seen: `plain`, of the space."""
    return space if isinstance(space, SEVERAL) and not _is_small_picture(space) else Box(-np.inf, np.inf, seen.shape)


def _is_small_picture(space: Space[Any]) -> bool:
    return is_image_space(space, check_channels=False) and sorted(space.shape)[1] < SMALLEST


def _is_text(space: Space[Any]) -> bool:
    """MiniGrid's missions have a space of their own. The copy keeps the space's generator as it is."""
    return not isinstance(space, (*SEVERAL, Dict, Tuple)) and isinstance(deepcopy(space).sample(), str)


class Within(gym.ActionWrapper[Any, Any, Any]):
    """Clips continuous actions to their bounds: SB3's rescaling sometimes rounds beyond them, and `Judged` refuses
    actions outside the space."""

    def action(self, action: Any) -> Any:
        space = self.action_space
        return action.clip(space.low, space.high) if isinstance(space, Box) else action


class Practice(gym.Wrapper[Any, Any, Any, Any]):
    """Begins every episode with a random seed of the practice split, whatever seed it is given. seed: of the draws.

    is_held_back: whether the start that the environment was just reset to, with the seed drawn, is one to stay away
    from. Another is drawn then.
    """

    def __init__(
        self, env: gym.Env[Any, Any], seed: Sequence[int], is_held_back: Callable[[int], bool] = lambda drawn: False
    ):
        super().__init__(env)
        self._rng, self._is_held_back = np.random.default_rng(seed), is_held_back

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Raises UserError where DRAWS seeds in a row have starts that are held back."""
        for _ in range(DRAWS):
            drawn = SPLITS["practice"][int(self._rng.integers(len(SPLITS["practice"])))]
            begun = self.env.reset(seed=drawn, options=options)
            if not self._is_held_back(drawn):
                return begun
        raise UserError(f"each of {DRAWS} practice seeds has a start that is held out; valid: a task with more starts")


def watched(task: Task, observe: str) -> gym.Env[Any, Any]:
    """The task's environment, observed as `state` or as `pixels`. Raises UserError for another name, or for a space
    that SB3 does not support."""
    if observe not in OBSERVE:
        raise unknown("observation", observe, OBSERVE)
    if observe == "pixels":
        return Pixels(task.make(), task)
    env = task.with_env(frames=1).make()  # a history of frames is drawn at each step, and no part of the state
    space = env.observation_space
    flat = space.values() if isinstance(space, Dict) else [space]
    if isinstance(space, Dict) and any(_is_small_picture(part) or _is_text(part) for part in flat):
        env = State(env)
        flat = env.observation_space.values()
    if not all(isinstance(part, SEVERAL) for part in flat):
        env.close()
        raise UserError(f"the state of task {task.name!r} is {space}, which SB3 cannot take in; valid: pixels")
    return env


def check_actions(task: Task, algorithm: str) -> None:
    """Raises UserError where an algorithm is unknown or cannot choose the task's actions, naming those that can."""
    if algorithm not in ALGORITHMS:
        raise unknown("algorithm", algorithm, ALGORITHMS)
    space = codec_for(task).action.space
    if not isinstance(space, ACTIONS[algorithm]):
        able = ", ".join(name for name, kinds in ACTIONS.items() if isinstance(space, kinds))
        valid = able or "a task with actions of Box, Discrete, MultiDiscrete or MultiBinary"
        raise UserError(
            f"algorithm {algorithm!r} cannot choose an action of {space} (task {task.name!r}); valid: {valid}"
        )
    if isinstance(space, Discrete) and space.start != 0:
        raise UserError(f"actions of task {task.name!r} begin at {space.start}; valid for SB3: at 0")


class _Trained:
    """A trained model that plays a task deterministically, one observation at a time: a decision does not depend on
    what is played beside it. Its answers are empty.
    """

    def __init__(self, model: BaseAlgorithm, task: Task):
        self.model, self.task = model, task
        self._space = codec_for(task).action.space

    def action(self, seen: Any) -> Any:
        """An action of the space, given an observation as in training; a batch of a batch, where it is continuous."""
        with one_thread():
            action, _ = self.model.predict(seen, deterministic=True)
        if isinstance(self._space, Discrete):
            return np.int64(action)
        if not isinstance(self._space, Box):
            return np.asarray(action, self._space.dtype)
        return action.clip(self._space.low, self._space.high).astype(self._space.dtype)

    def decide(self, seen: Any) -> Decision:
        return Decision("", self.action(seen))


class StatePolicy(_Trained):
    """Acts on the environment's own observation. Privileged: it reads the environments."""

    def observe(self, env: gym.Env[Any, Any]) -> Any:
        return plain(env.get_wrapper_attr("observation"), env.observation_space)

    def act_on(self, envs: Sequence[gym.Env]) -> list[Decision]:
        return [self.decide(self.observe(env)) for env in envs]


class PixelPolicy(_Trained):
    """Acts on frames, instruction and proprioception."""

    def observe(self, env: gym.Env[Any, Any]) -> Any:
        return encoded(self.task.observe(env))

    def act(self, observations: Sequence[Observation], rngs: Sequence[np.random.Generator]) -> list[Decision]:
        return [self.decide(encoded(observation)) for observation in observations]


def load(path: Path, task: Task) -> StatePolicy | PixelPolicy:
    """The model in a .zip as a policy that plays the task, by state or by pixels as it was trained.

    Raises UserError where there is none, it is of another algorithm, it is not trusted, or it does not fit the task.
    """
    content = _content(path)
    algorithm = _algorithm(path, content)
    check_actions(task, algorithm)
    trust.check(path, content)
    try:
        model = ALGORITHMS[algorithm].load(BytesIO(content), device="cpu", custom_objects=UNUSED)
    except Exception as error:  # whatever unpickling a file from elsewhere raises
        raise UserError(f"{str(path)!r} cannot be loaded here: {type(error).__name__}: {error}") from error
    space = codec_for(task).action.space
    if model.action_space != space:
        raise UserError(f"{str(path)!r} chooses actions of {model.action_space}; valid for {task.name!r}: {space}")
    valid, refused = {}, []
    for observe, kind in zip(OBSERVE, (StatePolicy, PixelPolicy), strict=True):
        try:
            env = watched(task, observe)
        except UserError as error:  # such as a state with text, of a task that was trained on pixels
            refused.append(error)
            continue
        valid[observe] = _form(env.observation_space)
        env.close()
        if _form(model.observation_space) == valid[observe]:
            return kind(model, task)
    if not valid:
        raise refused[0]
    forms = ", or ".join(f"{observe} {form}" for observe, form in valid.items())
    raise UserError(f"{str(path)!r} was trained on {_form(model.observation_space)}; valid for {task.name!r}: {forms}")


def _content(path: Path) -> bytes:
    """Of a file, read once: what is checked is what is loaded."""
    if not path.is_file():
        raise UserError(f"no policy in {str(path)!r}; {VALID}")
    if path.stat().st_size > MOST_BYTES:
        raise UserError(f"{str(path)!r} has {path.stat().st_size:,} bytes; valid: at most {MOST_BYTES:,}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{str(path)!r} cannot be read: {error.strerror}; {VALID}") from error


def _algorithm(path: Path, content: bytes) -> str:
    """Which of ALGORITHMS a .zip is of, without unpickling anything of it."""
    try:
        with ZipFile(BytesIO(content)) as archive:
            _check_entries(path, archive.infolist())
            data = json.loads(archive.read("data"))
        module = data["policy_class"]["__module__"]
    except BROKEN as error:
        raise UserError(f"{str(path)!r} holds no policy of Stable-Baselines3: {error}; {VALID}") from error
    for algorithm, (theirs, entry) in SAVED.items():
        if module == theirs and entry in data:
            return algorithm
    raise UserError(f"{str(path)!r} is of another algorithm, with {module}; {VALID}")


def _check_entries(path: Path, entries: Sequence[ZipInfo]) -> None:
    """Raises UserError for an archive that unpacks to more than MOST_BYTES, or out of the folder it is unpacked in."""
    size = sum(entry.file_size for entry in entries)
    if size > MOST_BYTES or len(entries) > MOST_ENTRIES:
        have = f"{len(entries)} entries of {size:,} bytes"
        raise UserError(f"{str(path)!r} has {have}; valid: at most {MOST_ENTRIES} of {MOST_BYTES:,}")
    for name in (entry.filename for entry in entries):
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise UserError(f"{str(path)!r} has the entry {shown(name)}, out of the archive; valid: a policy of SB3")


def _form(space: Space[Any]) -> Any:
    """What a network depends on in a space: shapes and numbers of choices, not bounds, which differ between releases
    of Gymnasium. Pictures are channels first, as in SB3."""
    if isinstance(space, Dict):
        return {name: _form(part) for name, part in space.items()}
    if isinstance(space, Discrete):
        return int(space.n)
    if is_image_space(space) and not is_image_space_channels_first(space):
        height, width, channels = space.shape
        return channels, height, width
    return space.shape

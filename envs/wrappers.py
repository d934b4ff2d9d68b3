"""Wrappers, one idea each, that give any Gymnasium environment success in `info` and frames of one size."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, isnan
from typing import Any, ClassVar, Literal

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import TimeLimit

from envs.cameras import OwnView, camera_of, cameras_of, own_view, seen_from
from envs.errors import UserError
from envs.foreign.frames import FrameReader, scaled, squared
from envs.foreign.raising import is_of_environment
from envs.foreign.values import check_ending, rewarded, rounded, success_number
from envs.rendering import mujoco, renderer_for, simplify
from envs.snapshot import PHYSICS, is_physical, physics_of

Stepped = tuple[Any, float, bool, bool, dict[str, Any]]
Fit = Literal["squash", "letterbox"]
NUMBERS = ("return", "reward", "terminated")


@dataclass(frozen=True)
class SuccessRule:
    """An episode succeeds where a number lies within bounds.

    of: what number, or several names, any of whose numbers may lie within. `return` or `reward` (the last one) count
    when the episode ends, and so does `terminated`, where the environment ends an episode by reaching what is asked for
    and not otherwise, and does not say that its time is out. A key of `info` counts after every step, and success ends
    the episode, or only `at_the_end`. One that is called as a word of ours is not looked at.
    source: who set the bounds.
    """

    of: str | tuple[str, ...]
    at_least: float = -inf
    at_most: float = inf
    at_the_end: bool = False
    source: str = ""

    def __post_init__(self) -> None:
        """Raises UserError for a rule that always holds or never does."""
        low, high = self.at_least, self.at_most
        given = f"success of {self.of!r}, at_least {low:g}, at_most {high:g}"
        if not self.keys or not all(self.keys):
            raise UserError(f"success of {self.of!r}; valid: {', '.join(NUMBERS)}, or a key of info")
        if isnan(low) or isnan(high) or low > high or low == inf or high == -inf:
            raise UserError(f"{given} never holds; valid: numbers, at_least no more than at_most")
        if not (isfinite(low) or isfinite(high)):
            raise UserError(f"success of {self.of!r} has no bound, and always holds; valid: at_least, at_most, or both")
        if "terminated" in self.keys and self.holds(0) == self.holds(1):
            how = "always" if self.holds(1) else "never"
            raise UserError(f"{given} {how} holds; valid: at_least: 1, or at_most: 0")

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of its numbers."""
        return (self.of,) if isinstance(self.of, str) else self.of

    @property
    def rules(self) -> tuple["SuccessRule", ...]:
        """Itself, as `AnyRule` has several."""
        return (self,)

    def holds(self, number: float) -> bool:
        return self.at_least <= number <= self.at_most

    def margin(self, number: float) -> float:
        """The distance to the nearest bound: positive within the bounds, negative outside."""
        return min(number - self.at_least, self.at_most - number)

    def in_words(self) -> str:
        bounds = [
            f"{word} {b:g}" for word, b in (("at least", self.at_least), ("at most", self.at_most)) if isfinite(b)
        ]
        number = f"{' or '.join(self.keys)} {' and '.join(bounds)}{' at the end' * self.at_the_end}"
        return f"{number} ({self.source or 'as declared'})"


@dataclass(frozen=True)
class AnyRule:
    """An episode succeeds where any of its rules says so."""

    rules: tuple[SuccessRule, ...]

    def in_words(self) -> str:
        return "; or ".join(rule.in_words() for rule in self.rules)


class ActionRepeat(gym.Wrapper[Any, Any, Any, Any]):
    """Takes each action `n` times, or until the episode ends, and adds up the rewards."""

    def __init__(self, env: gym.Env[Any, Any], n: int):
        super().__init__(env)
        self.n = n

    def step(self, action: Any) -> Stepped:
        total = 0.0
        for _ in range(self.n):
            observation, reward, terminated, truncated, info = self.env.step(action)
            check_ending(terminated, truncated, info)
            total += rewarded(reward)
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, info


class Judged(gym.Wrapper[Any, Any, Any, Any]):
    """Adds `success` and `is_success` to `info` by a rule, and refuses actions outside the space. rounds: rewards."""

    set_by_reset: ClassVar[tuple[str, ...]] = ("rule", "_rounds")  # what no step changes

    def __init__(self, env: gym.Env[Any, Any], rule: SuccessRule | AnyRule, rounds: bool = False):
        super().__init__(env)
        self.rule, self._return, self._keys, self._rounds = rule, 0.0, set(), rounds

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._return, self._keys = 0.0, set()
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, info | {"success": False, "is_success": False}

    def step(self, action: Any) -> Stepped:
        """Raises ValueError for an action outside the space, SimulatorError for a reward that is not finite, UserError
        for a reward, a flag or a success that is none, and at the end of an episode without the key."""
        space = self.env.action_space
        if not space.contains(np.asarray(action, space.dtype) if isinstance(space, gym.spaces.Box) else action):
            raise ValueError(f"action {action} is not in {space}")
        observation, reward, terminated, truncated, info = self.env.step(action)
        check_ending(terminated, truncated, info)
        reward = rounded(rewarded(reward)) if self._rounds else rewarded(reward)
        self._return += reward
        self._keys |= info.keys()
        ended = terminated or truncated
        terminated = bool(terminated) and not (truncated and self._timed_out())
        numbers = info | {"return": self._return, "reward": reward, "terminated": terminated}
        met = [self._is_met(rule, numbers, ended) for rule in self.rule.rules]  # all, to name what is no key
        success = any(met)
        terminated = terminated or success
        return observation, reward, terminated, truncated, info | {"success": success, "is_success": success}

    def _is_met(self, rule: SuccessRule, numbers: Mapping[str, Any], ended: bool) -> bool:
        """Raises UserError at the end of an episode in which none of the rule's numbers was told."""
        if ended and not {*NUMBERS, *self._keys}.intersection(rule.keys):
            keys = ", ".join(sorted({*NUMBERS, *map(str, self._keys)}))
            raise UserError(f"success key {rule.of!r} never appeared in info; valid: {keys}")
        holding = [key for key in rule.keys if key in numbers and rule.holds(success_number(numbers[key], key))]
        return any(ended or not (rule.at_the_end or key in NUMBERS) for key in holding)

    def _timed_out(self) -> bool:
        """Whether the environment itself truncated an episode, and not Gymnasium's limit of steps: some set both flags
        when time is out, and then nothing was reached. At the limit's last step both may hold."""
        env = self.env
        while isinstance(env, gym.Wrapper):
            if isinstance(env, TimeLimit) and env._elapsed_steps >= env._max_episode_steps:
                return False
            env = env.env
        return True


class Afresh(gym.Wrapper[Any, Any, Any, Any]):
    """Resets MuJoCo's whole state to that of construction before every reset: some environments' own resets leave part
    of the last episode's state (mocap bodies, the solver's warm start), and then one seed has several starts.

    A model that was built anew since has no state of construction here, and none of the last episode's.
    """

    set_by_reset: ClassVar[tuple[str, ...]] = ("_model", "_state")  # what no step changes

    def __init__(self, env: gym.Env[Any, Any]):
        super().__init__(env)
        self._model, self._state = env.unwrapped.model, physics_of(env.unwrapped.data)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        inner = self.env.unwrapped
        if inner.model is self._model:
            mujoco.mj_setState(inner.model, inner.data, self._state, PHYSICS)
        return self.env.reset(seed=seed, options=options)


class Picture(gym.Wrapper[Any, Any, Any, Any]):
    """Renders (size, size, 3) uint8: MuJoCo by our own renderer, whatever else by its own, scaled down.

    cameras: at least one, each as `camera_of` has it; the last is what `render` looks through. fit: a picture of the
    environment's own that is no square is scaled on each side by itself (squash), or as a whole, between black bars.
    own: how a MuJoCo environment shows itself, where that is known.
    """

    set_by_reset: ClassVar[tuple[str, ...]] = ("_reader", "_own", "_option")  # what no step changes

    def __init__(
        self,
        env: gym.Env[Any, Any],
        size: int,
        cameras: Sequence[str | Mapping[str, Any]] = ("",),
        white: float | None = None,
        fit: Fit = "squash",
        own: OwnView | None = None,
    ):
        """white: of pictures in floats, where that is known.

        Raises UserError for a camera that the model does not have.
        """
        super().__init__(env)
        self.size, self.cameras, self.fit = size, _checked(cameras, env), fit
        self._reader, self._own, self._option = FrameReader(white), own, own and own.option()
        self._physical, self._simplified = is_physical(env), None
        if self._physical:
            self._simplify()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        result = self.env.reset(seed=seed, options=options)
        if self._physical:
            self._simplify()
        return result

    def _simplify(self) -> None:
        """An environment that is made anew has another model."""
        inner = self.env.unwrapped
        if inner is not self._simplified:
            simplify(inner.model, self.size)
            self._simplified = inner

    def pictures(self) -> np.ndarray:
        """(cameras, size, size, 3) uint8. Raises UserError where there is no picture."""
        if self._physical:
            self.place_markers()
            return np.stack([self._seen_by(camera, self.size) for camera in self.cameras])
        return self._drawn(self.size)[None]

    def place(self, point: np.ndarray, camera: str = "") -> np.ndarray:
        """(3,): where a point of a MuJoCo world is in the picture of a camera, or of the first: `seen_from`."""
        inner = self.env.unwrapped
        return seen_from(inner.model, inner.data, camera_of(inner, camera or self.cameras[0], self._own), point)

    def shown(self) -> dict[tuple[int, int], int]:
        """Of MuJoCo: (mjtObj, id) of each geom and site in the first picture -> its pixels."""
        inner = self.env.unwrapped
        camera = camera_of(inner, self.cameras[0], self._own)
        return renderer_for(inner.model, self.size).pixels(inner.model, inner.data, camera, self._option)

    def adopt_own_view(self, seed: int) -> OwnView | None:
        """From now on a MuJoCo environment is drawn as its own renderer shows it, which is tried at the start of this
        seed; where that fails, through the only camera that the model names. None where there is neither."""
        if not self._physical:
            return None
        try:
            self.reset(seed=seed)
            self._own = own_view(self.env.unwrapped, self.env.render)
        except BaseException as error:  # whatever a renderer raises
            if not is_of_environment(error):
                raise
            names = cameras_of(self.env.unwrapped)
            self._own = OwnView(names[0], {}) if len(names) == 1 else None
        self._option = self._own and self._own.option()
        return self._own

    @property
    def white(self) -> float | None:
        """Of pictures in floats, as `FrameReader` has it."""
        return self._reader.white

    def render(self) -> np.ndarray:
        """Raises UserError where there is no picture."""
        return self.view(self.size)

    def view(self, size: int) -> np.ndarray:
        """(size, size, 3) uint8, through the last camera. Raises UserError where there is no picture."""
        if self._physical:
            self.place_markers()
            return self._seen_by(self.cameras[-1], size)
        return self._drawn(size)

    def _seen_by(self, camera: str | Mapping[str, Any], size: int) -> np.ndarray:
        inner = self.env.unwrapped
        seen = camera_of(inner, camera, self._own)
        return renderer_for(inner.model, size).render(inner.model, inner.data, seen, self._option)

    def _drawn(self, size: int) -> np.ndarray:
        picture = self._reader.read(self.env.render())
        return squared(picture, size) if self.fit == "letterbox" else scaled(picture, size, size)

    def place_markers(self) -> None:
        """Gymnasium-Robotics draws its goals where they are only while it renders, by a call that moves the state."""
        inner = self.env.unwrapped
        if hasattr(inner, "_render_callback"):
            state = physics_of(inner.data)
            inner._render_callback()
            mujoco.mj_setState(inner.model, inner.data, state, PHYSICS)


class OwnPicture(gym.Wrapper[Any, Any, Any, Any]):
    """Renders (size, size, 3) uint8 of an environment that draws itself at any size, by `picture(camera, size)`.

    cameras: as for `Picture`; an empty name is the environment's own camera.
    """

    def __init__(self, env: gym.Env[Any, Any], size: int, cameras: Sequence[str | Mapping[str, Any]] = ("",)):
        """Raises UserError for a camera that the environment does not have."""
        super().__init__(env)
        self.size, self.cameras = size, _checked(cameras, env)

    def pictures(self) -> np.ndarray:
        """(cameras, size, size, 3) uint8."""
        return np.stack([self.env.unwrapped.picture(camera, self.size) for camera in self.cameras])

    def render(self) -> np.ndarray:
        """(size, size, 3) uint8, through the last camera."""
        return self.env.unwrapped.picture(self.cameras[-1], self.size)


def _checked(cameras: Sequence[str | Mapping[str, Any]], env: gym.Env[Any, Any]) -> list[str | dict[str, Any]]:
    """The cameras, each a name or the fields of a free camera. Raises UserError for one that `env` does not have."""
    plain = [camera if isinstance(camera, str) else dict(camera) for camera in cameras]
    if is_physical(env):
        for camera in plain:
            camera_of(env.unwrapped, camera)
    elif plain != [""]:
        named = max(plain, key=bool)  # the first that is not empty
        raise UserError(f"camera {named!r} of an environment without MuJoCo; valid: none, leave it out")
    return plain


def pictures(env: gym.Env[Any, Any]) -> np.ndarray:
    """(cameras, H, W, 3) uint8: what is seen now through each camera, of which most environments have one."""
    return env.get_wrapper_attr("pictures")() if env.has_wrapper_attr("pictures") else env.render()[None]


class FrameHistory(gym.Wrapper[Any, Any, Any, Any]):
    """Remembers the last `n` pictures of each camera, where one does not tell which way things move."""

    def __init__(self, env: gym.Env[Any, Any], n: int):
        super().__init__(env)
        self.n = n
        self._frames: deque[np.ndarray] = deque(maxlen=n)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        result = self.env.reset(seed=seed, options=options)
        self._frames = deque([pictures(self.env)] * self.n, self.n)
        return result

    def step(self, action: Any) -> Stepped:
        result = self.env.step(action)
        self._frames.append(pictures(self.env))
        return result

    def frames(self) -> np.ndarray:
        """(n x cameras, H, W, 3) uint8, oldest first; the first of an episode as often as there are too few."""
        return np.concatenate(self._frames)

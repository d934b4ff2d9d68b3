"""What a task is made of: an environment and how it is seen, actions in words, a language, and a privileged teacher."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from importlib.util import find_spec
from math import inf
from typing import Any, Self

import gymnasium as gym
import numpy as np

from envs.checks.health import Health
from envs.errors import UserError
from envs.foreign.making import PACKAGES, WrapperSpec, limit, made
from envs.foreign.numbers import InfoNumbers
from envs.foreign.paths import Held
from envs.foreign.probing import SEED, Found, probe
from envs.foreign.raising import is_of_environment
from envs.foreign.resets.remade import Reset, begun
from envs.foreign.showing import check_shows
from envs.foreign.spaces import Bounded, Bounds
from envs.foreign.teaching import ShownBy
from envs.language import Language, StateLanguage
from envs.observation import Observation, Withheld
from envs.snapshot import Restorable, Way, is_physical
from envs.wrappers import (
    ActionRepeat,
    Afresh,
    AnyRule,
    Fit,
    FrameHistory,
    Judged,
    OwnPicture,
    Picture,
    SuccessRule,
    pictures,
)

DECLARED = "declared"  # the suite of tasks from files, whose environments nobody here has tried
FILES = (".yaml", ".yml")  # how the names of their files end
IMAGE_SIZE = 64  # [px] of a frame's side, where a task has no other
SIZES = range(8, 2049)  # [px] of a frame's side


@dataclass(frozen=True)
class EnvSpec:
    """An environment and how it is seen.

    success: the rule of success, where the environment does not tell success itself. It is seen as pictures of
    (image_size, image_size, 3) through `cameras`, as `camera_of` takes them. frames: moments that make an observation.
    An observation is (frames x cameras) images: the oldest moment first, and of each moment the cameras in their order.
    repeat: how often an action is taken. reset: what a reset needs, so that a seed decides an episode; None: what is
    found where it is tried.

    imports: modules that are imported before it is made. wrappers: of the user's, the first innermost. bounds: of
    actions that have none of their own (`envs.foreign.spaces.bounded`). held: paths whose values it holds
    (`envs.foreign.paths.Held`). fit: how a picture of its own that is no square becomes one. still: that its pictures
    may stay the same for many random steps. info: numbers of it that are kept, as paths, for words that tell the
    state.
    """

    id: str
    kwargs: Mapping[str, Any] = field(default_factory=dict, hash=False)
    success: SuccessRule | AnyRule | None = None
    image_size: int = IMAGE_SIZE  # [px]
    cameras: Sequence[str | Mapping[str, Any]] = field(default=("",), hash=False)
    frames: int = 1
    repeat: int = 1
    imports: tuple[str, ...] = ()
    wrappers: tuple[WrapperSpec, ...] = ()
    bounds: Bounds | None = field(default=None, hash=False)
    held: tuple[str, ...] = ()
    fit: Fit = "squash"
    still: bool = False
    info: tuple[str, ...] = ()
    reset: Reset | None = Reset.AS_IS

    @cached_property
    def horizon(self) -> int | None:
        """Decisions of an episode, at most; None where no limit is registered or given."""
        steps = limit(self.id, self.kwargs, self.imports)
        return steps and -(-steps // self.repeat)


@dataclass(frozen=True)
class ActionWords:
    """How actions are put into words.

    levels: on each axis of a continuous action. names: of discrete actions, or the units of a free answer. verb: the
    word before a discrete action or an answer.
    """

    levels: int = 9
    names: tuple[str, ...] = ()
    verb: str = "move"


@dataclass(frozen=True)
class Captions:
    """Privileged: questions about a scene, answered from its true state, to learn to see from.

    ask: the environment, a random generator, about how many questions, and whether to ask in the words of an
    instruction too -> (question, answer), a caption first. scenes: the options of a reset that vary a scene.
    """

    ask: Callable[[gym.Env, np.random.Generator, int, bool], Iterator[tuple[str, str]]]
    scenes: Callable[[np.random.Generator], dict[str, Any]] = lambda rng: {}


@dataclass(frozen=True)
class Endings:
    """Privileged: endings as a critic should judge them.

    conclude: what is to be said of the state. is_done: whether the task is done. misled: makes an ending that is not
    done: it changes what the instruction asks for and returns None, or returns an expert with a wrong belief, env ->
    action, to be followed from the start of the episode.
    """

    conclude: Callable[[gym.Env], str]
    is_done: Callable[[gym.Env], bool]
    misled: Callable[[gym.Env, np.random.Generator], Callable[[gym.Env], Any] | None]


@dataclass(frozen=True)
class Teacher:
    """Privileged: reads the environment's true state, for demonstrations, captions and audits. No policy that is
    trained or evaluated is given one.

    expert: env -> thought and action. thought: env -> the true thought, where that depends on the state alone and not
    on what is done. shown_by: what a declared task's file says of who shows it, to be resolved where there is no
    `expert` (`policies.baselines.with_expert`).
    """

    expert: Callable[[gym.Env], tuple[str, Any]] | None = None
    thought: Callable[[gym.Env], str] | None = None
    captions: Captions | None = None
    endings: Endings | None = None
    shown_by: ShownBy | None = None


@dataclass(frozen=True)
class Task:
    """An environment with the words that make it a task for a multimodal policy.

    split: `practice`, or `heldout` for goals or an appearance that are never trained on. tags: of published splits and
    of held-out appearances. setback: a step with this reward or less lost ground, where rewards measure progress.
    exact: its episodes happen again, bit for bit. Those of another get no certificate, and its states no branches.
    withheld: what policies are kept from.
    """

    name: str
    suite: str
    split: str
    env: EnvSpec
    tags: tuple[str, ...] = ()
    actions: ActionWords = ActionWords()
    setback: float = -inf
    language: Language = field(default_factory=Language)
    teacher: Teacher = Teacher()
    exact: bool = True
    withheld: Withheld | None = None

    def with_env(self, **changes: Any) -> Self:
        """The task with some fields of its EnvSpec changed, such as frames=1."""
        return replace(self, env=replace(self.env, **changes))

    def sized(self, image_size: int | None) -> Self:
        """The task with frames of another size, rendered at that size [px]; None for the task's own.

        Nothing else changes: starts, fingerprints and codec are the same. Raises UserError for a size outside SIZES.
        """
        if image_size in (None, self.env.image_size):
            return self
        if image_size not in SIZES:
            raise UserError(f"image_size {image_size!r}; valid: {SIZES.start} to {SIZES.stop - 1} [px]")
        return self.with_env(image_size=image_size)

    @property
    def horizon(self) -> int | None:
        """Decisions of an episode, at most; None where no limit is registered or given."""
        return self.env.horizon

    def is_installed(self) -> bool:
        """Whether the package that its suite needs is there."""
        return find_spec(PACKAGES.get(self.suite, "gymnasium")) is not None

    def make(self, **kwargs: Any) -> Restorable:
        """The environment, with its time limit, rendering (H, W, 3) uint8.

        Raises UserError for an unknown id, a wrong argument, and a camera that the environment does not have. That of a
        declared task is tried first, once in a process; see `envs.foreign.probing`.
        """
        return _wrapped(_maker(self.name, self.suite, self.env, kwargs), self.env, self.found())

    def found(self) -> Found:
        """What is known of its environment; that of a declared task is tried first. Raises UserError as `make` does."""
        if self.suite != DECLARED:
            return Found(None, self.env.reset, Way.STATE, self.exact, rounds=False)
        seen_once = replace(self.env, image_size=IMAGE_SIZE, frames=1)
        return _LEARNED.get(self.name) or _tried(self.name, seen_once, self.language, self.exact)

    def observe(self, env: gym.Env) -> Observation:
        """What a policy may know of `env` now: fresh frames and words."""
        frames = env.get_wrapper_attr("frames")() if self.env.frames > 1 else pictures(env)
        told = Observation(frames, self.language.instruction(env), self.language.proprioception(env))
        return self.withheld.seen(told) if self.withheld else told


def _maker(name: str, suite: str, spec: EnvSpec, kwargs: Mapping[str, Any]) -> Callable[[], gym.Env]:
    return partial(made, name, suite, spec.id, {**spec.kwargs, **kwargs}, spec.imports, spec.wrappers)


def _wrapped(make: Callable[[], gym.Env], spec: EnvSpec, found: Found) -> Restorable:
    env = begun(make, found.reset)
    env = Health(env if spec.bounds is None else Bounded(env, spec.bounds))
    if spec.success and is_physical(env):
        env = Afresh(env)
    if spec.repeat > 1:
        env = ActionRepeat(env, spec.repeat)
    if spec.info:
        env = InfoNumbers(env, spec.info)
    if spec.held:
        env = Held(env, spec.held)
    if spec.success:
        env = Judged(env, spec.success, found.rounds and not is_physical(env))
        env = Picture(env, spec.image_size, spec.cameras, found.white, spec.fit, found.own)
    elif hasattr(env.unwrapped, "picture"):
        env = OwnPicture(env, spec.image_size, spec.cameras)
    if spec.frames > 1:
        env = FrameHistory(env, spec.frames)
    return Restorable(env, found.way)


# What was found of tasks of files, by their names: here, and in the process that this one works for.
_FOUND: dict[str, Found] = {}
_LEARNED: dict[str, Found] = {}


def known() -> dict[str, Found]:
    """What was found here of tasks of files, for other processes: a trial takes time."""
    return dict(_FOUND)


def learn(found: Mapping[str, Found]) -> None:
    """Take over what another process found."""
    _LEARNED.update(found)


@cache
def _tried(name: str, spec: EnvSpec, language: Language, exact: bool) -> Found:
    """What was found of a declared task's environment by trying it.

    Raises UserError for an environment with which nothing could be played, or whose state the words cannot tell.
    """
    with _of_task(name):
        found = _probed(name, replace(spec, held=(), info=()), exact)
        with closing(_wrapped(_maker(name, DECLARED, spec, {}), spec, found)) as env:
            _try_words(env, language)
    if name.endswith(FILES):
        _FOUND[name] = found
    return found


@cache
def _probed(name: str, spec: EnvSpec, exact: bool) -> Found:
    """What was found by playing and drawing. It does not depend on the words, and one task has several: with and
    without those for its state. Raises UserError as `_tried` does."""

    def build(reset: Reset) -> Restorable:
        env = _wrapped(_maker(name, DECLARED, spec, {}), spec, Found(None, reset, Way.STATE))
        if spec.horizon is None:
            env.close()
            raise UserError(
                f"environment {spec.id!r} has no time limit: an episode might never end; "
                "valid: max_steps in the task's file, such as max_steps: 200"
            )
        return env

    found = probe(spec.id, build, spec.reset, exact)
    with closing(_wrapped(_maker(name, DECLARED, spec, {}), spec, found)) as env:
        found = found._replace(own=env.get_wrapper_attr("adopt_own_view")(SEED))  # makes a GL context of its own
        check_shows(env, spec.still)
    return found


def _try_words(env: Restorable, language: Language) -> None:
    """Raises UserError where the instruction or the state has no words at a start or after a step, as of a name that is
    not there."""
    say = [language.instruction, *([language.seen.of] if isinstance(language, StateLanguage) else [])]
    try:
        env.reset(seed=SEED)
        [words(env) for words in say]
        env.action_space.seed(SEED)
        env.step(env.action_space.sample())
        [words(env) for words in say]
    except BaseException as error:
        if isinstance(error, UserError) or not is_of_environment(error):
            raise


@contextmanager
def _of_task(name: str) -> Iterator[None]:
    """A UserError within names the task."""
    try:
        yield
    except UserError as error:
        raise UserError(f"task {name!r}: {error}") from error


def state_teacher(language: StateLanguage, expert: Callable[[gym.Env], Any] | None = None) -> Teacher:
    """The teacher of a task whose thoughts say what is seen. expert: env -> action; it thinks the true thought."""
    thought = language.seen.of
    return Teacher(expert and (lambda env: (thought(env), expert(env))), thought, Captions(language.captions))

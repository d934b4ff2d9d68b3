"""A wrapper that makes the episodes of an unclean environment happen again.

Some environments draw from numpy's or Python's module-wide generators, from spaces or from generators that nobody
seeded; some keep over a reset what belongs to the last episode. The cures are generators of the episode's own, and an
environment that is made anew for each episode.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from enum import StrEnum
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np


class Reset(StrEnum):
    """What an environment's reset needs, so that a seed decides an episode."""

    AS_IS = "as_is"
    OWN_GENERATORS = "own_generators"
    ANEW = "anew"  # made anew for each episode, with generators of its own


def begun(make: Callable[[], gym.Env[Any, Any]], reset: Reset) -> gym.Env[Any, Any]:
    """The environment that `make` makes, with what its reset needs."""
    return make() if reset is Reset.AS_IS else Remade(make, anew=reset is Reset.ANEW)


@contextmanager
def global_generators_kept() -> Iterator[None]:
    """The module-wide random generators are afterwards as before: some environments draw from them."""
    kept = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])  # noqa: NPY002


class Remade(gym.Wrapper[Any, Any, Any, Any]):
    """Gives each episode of a seed generators of its own; belongs right around `gym.make`.

    Its own are, while the environment is made, reset, stepped and drawn: numpy's and Python's module-wide generators,
    those of the environment's spaces, and every one that Gymnasium or numpy would seed from the operating system. What
    is drawn for a picture is drawn again for the next: a picture does not move them.

    anew: the environment is made anew for each episode. The first episode takes the one that was made at first, if that
    used no random number: then another would be the same.
    """

    set_by_reset: ClassVar[tuple[str, ...]] = ("make", "anew", "_is_closed", "_is_untouched", "_drew")

    def __init__(self, make: Callable[[], gym.Env[Any, Any]], anew: bool = True):
        self.make, self.anew, self._is_closed = make, anew, False
        self._begin(0)
        with self._own():
            env = make()
        if self._has_drawn(0) and not anew:  # an import that draws does so once in a process
            env.close()
            self._begin(0)
            with self._own():
                env = make()
        super().__init__(env)
        self._is_untouched = not self._has_drawn(0)
        self.action_space = deepcopy(env.action_space)  # for others to draw from

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Raises whatever making, closing or resetting raises; the next reset makes it anew all the same."""
        if seed is not None:
            self._begin(seed)
        with self._own():
            if (self.anew and not self._is_untouched) or self._is_closed:
                self._close()
                self.env = self.make()
                self._is_closed = False
            self._is_untouched = False
            if seed is not None:
                _seed_spaces(self.env.unwrapped, seed)
            return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        with self._own():
            return self.env.step(action)

    def render(self) -> Any:
        with self._own(moved=False):
            return self.env.render()

    def redraw(self, seed: int) -> None:
        """From here on, the episode's generators are those of another seed."""
        self._begin(seed)
        _seed_spaces(self.env.unwrapped, seed)

    def generators(self) -> Any:
        """The states of the episode's generators, those of its environment's spaces among them."""
        spaces = [space for space in vars(self.env.unwrapped).values() if isinstance(space, gym.Space)]
        drawn = [space._np_random and space._np_random.bit_generator.state for space in spaces]
        return self._legacy, self._plain, self._seeds.bit_generator.state, drawn

    def close(self) -> None:
        with self._own(moved=False):
            self._close()

    def _close(self) -> None:
        """Close the environment, once."""
        if not self._is_closed:
            self._is_closed = True
            self.env.close()

    def _begin(self, seed: int) -> None:
        self._legacy: Any = np.random.RandomState(seed).get_state()
        self._plain: Any = random.Random(seed).getstate()
        self._seeds = np.random.default_rng([seed, 0])  # of generators without a seed
        self._drew = False  # a seed from them

    def _has_drawn(self, seed: int) -> bool:
        """Whether a random number was used since `_begin` with this seed."""
        kind, numbers, *rest = np.random.RandomState(seed).get_state()
        now_kind, now, *now_rest = self._legacy
        untouched = (kind, rest) == (now_kind, now_rest) and np.array_equal(numbers, now)
        return self._drew or not untouched or self._plain != random.Random(seed).getstate()

    @contextmanager
    def _own(self, moved: bool = True) -> Iterator[None]:
        """Within, generators are this episode's own. moved: what is drawn is not drawn again."""
        by_gymnasium, by_numpy, seeds = gym.utils.seeding.np_random, np.random.default_rng, self._seeds.bit_generator
        before, drew = seeds.state, self._drew
        with global_generators_kept():
            np.random.set_state(self._legacy)  # noqa: NPY002
            random.setstate(self._plain)
            gym.utils.seeding.np_random, np.random.default_rng = self._seeded(by_gymnasium), self._seeded(by_numpy)
            try:
                yield
            finally:
                gym.utils.seeding.np_random, np.random.default_rng = by_gymnasium, by_numpy
                if moved:
                    self._legacy, self._plain = np.random.get_state(), random.getstate()  # noqa: NPY002
                else:
                    seeds.state, self._drew = before, drew

    def _seeded(self, make_generator: Callable[..., Any]) -> Callable[..., Any]:
        """The same function of a library, with a seed of this episode's where it is given none."""

        def seeded(seed: Any = None) -> Any:
            if seed is None:
                seed, self._drew = int(self._seeds.integers(2**31)), True
            return make_generator(seed)

        return seeded


def _seed_spaces(env: gym.Env[Any, Any], seed: int) -> None:
    """Environments draw from their own spaces; what others draw from is a copy."""
    for space in vars(env).values():
        if isinstance(space, gym.Space):
            space.seed(seed)

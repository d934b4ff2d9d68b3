"""A trained policy with lookahead: other actions are simulated to the end of the episode before one is taken.

A rollout policy (Tesauro and Galperin, 1996, "On-line Policy Improvement using Monte-Carlo Search"): some disturbances
of the policy's actions are each held for HOLD steps, then the policy itself is followed to the end of the episode. The
first HOLD steps of the best are taken; then the search begins anew.
"""

from typing import Any
from weakref import WeakKeyDictionary

import gymnasium as gym
import numpy as np

from envs.errors import UserError
from envs.snapshot import PHYSICS, is_physical, mujoco, physics_of
from envs.task import Task
from envs.wrappers import ActionRepeat, SuccessRule
from policies.action_codec import BoxCodec, codec_for
from policies.sb3 import StatePolicy

CANDIDATES = 12  # disturbances that are simulated, beside the policy itself
HOLD = 10  # steps that a disturbance is held for, and that are taken before the next search
SCALE = 0.3  # of half the actions' range: the largest standard deviation of a disturbance


class Lookahead:
    """The best of some disturbances of a policy on a MuJoCo task, in the levels of the task's action words.

    The task's rule of success scores them: by the return, or by how near a number of `info` comes to its bounds at any
    step. Random draws depend on the state alone. A state that the last search did not simulate starts a new search. The
    environment's steps may depend on nothing but MuJoCo's own state.
    """

    def __init__(self, policy: StatePolicy, task: Task):
        """Raises UserError for a task without MuJoCo or a limit of steps, with discrete actions, or whose success is
        decided by its last step."""
        self.policy, self.task = policy, task
        self._codec, self._rule = codec_for(task).action, task.env.success
        rule, spec = self._rule, task.env
        made = [gym.make(spec.id, **spec.kwargs) for _ in range(CANDIDATES + 1)]
        by_steps = isinstance(rule, SuccessRule) and isinstance(rule.of, str)
        by_steps = by_steps and rule.of not in ("reward", "terminated") and not rule.at_the_end
        needed = is_physical(made[0]), isinstance(self._codec, BoxCodec), made[0].spec.max_episode_steps, by_steps
        if not all(needed):
            raise UserError(
                f"task {task.name!r} cannot be looked ahead in; valid: MuJoCo, continuous actions, a limit of steps, "
                "and a rule of success about the return, or about a key of info at any step"
            )
        self._envs = [ActionRepeat(env.unwrapped, spec.repeat) for env in made]  # nothing is drawn, no step is the last
        # Of each environment, the actions to be taken, by the state before each.
        self._planned: WeakKeyDictionary[gym.Env[Any, Any], dict[bytes, np.ndarray]] = WeakKeyDictionary()

    def action(self, env: gym.Env[Any, Any]) -> np.ndarray:
        """(d,) of the action space, quantised as an answer says it."""
        now = physics_of(env.unwrapped.data)
        if now.tobytes() not in self._planned.get(env.unwrapped, {}):
            left = env.spec.max_episode_steps - env.get_wrapper_attr("_elapsed_steps")
            self._planned[env.unwrapped] = self._plan(now, self.policy.observe(env), -(-left // self.task.env.repeat))
        return self._planned[env.unwrapped][now.tobytes()]

    def _plan(self, now: np.ndarray, seen: np.ndarray, left: int) -> dict[bytes, np.ndarray]:
        """Physics state -> action, for the first HOLD steps of the best. left: actions to the episode's end."""
        n, taken = len(self._envs), [{} for _ in self._envs]
        for env in self._envs:
            mujoco.mj_setState(env.unwrapped.model, env.unwrapped.data, now, PHYSICS)
        seen, disturbances = np.repeat(seen[None], n, axis=0), self._disturbances(now)
        summed = self._rule.of == "return"
        brought, going = np.full(n, 0.0 if summed else -np.inf), np.ones(n, bool)
        for step in range(left):
            actions = self.policy.action(seen)
            if step < HOLD:
                actions = [self._codec.decode(self._codec.encode(a)) for a in actions + disturbances]
            for i in np.flatnonzero(going):
                env = self._envs[i]
                if step < HOLD:
                    taken[i][physics_of(env.unwrapped.data).tobytes()] = actions[i]
                seen[i], reward, terminated, _, info = env.step(actions[i])
                if summed:
                    brought[i] += reward
                elif self._rule.of in info:
                    brought[i] = max(brought[i], self._rule.margin(info[self._rule.of]))
                going[i] = not terminated
            if not going.any() or (not summed and brought.max() >= 0):
                break
        return taken[brought.argmax()]

    def _disturbances(self, state: np.ndarray) -> np.ndarray:
        """(CANDIDATES + 1, d), of sizes from a tenth of the largest to the largest; the first is zero."""
        rng, space = np.random.default_rng(state.view(np.uint32)), self._codec.space
        sizes = SCALE * 10 ** -rng.random((len(self._envs), 1))
        sizes[0] = 0
        return sizes * rng.standard_normal((len(sizes), *space.shape)) * (space.high - space.low) / 2

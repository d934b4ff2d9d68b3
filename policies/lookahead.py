"""A trained policy that looks ahead: what else it could do is followed in the simulator to what comes of it.

A rollout policy (Tesauro and Galperin, 1996, "On-line Policy Improvement using Monte-Carlo Search"): some disturbances
of the policy's actions are each held for a few steps, then the policy itself is followed to the end of the episode; the
first steps of the best are taken, and it looks ahead anew.
"""

from typing import Any
from weakref import WeakKeyDictionary

import gymnasium as gym
import numpy as np

from envs.errors import UserError
from envs.snapshot import PHYSICS, is_physical, mujoco, physics_of
from envs.task import Task
from envs.wrappers import ActionRepeat
from policies.action_codec import BoxCodec, codec_for
from policies.sb3 import StatePolicy

CANDIDATES = 12  # disturbances that are followed, beside the policy itself
HOLD = 10  # steps that one is held for, and that are taken before it looks ahead anew
SCALE = 0.3  # of half the actions' range: the largest deviation that one is drawn with


class Lookahead:
    """Acts as a policy does on a task of MuJoCo, bettered by looking ahead, in the levels of the task's answers.

    What is better is said by the task's rule of success: the return, or how near a number of `info` comes to its bounds
    at any step. What is drawn at random depends on the state alone; in a state that it did not foresee, it looks ahead
    anew. The environment's steps may depend on nothing but the state that MuJoCo has.
    """

    def __init__(self, policy: StatePolicy, task: Task):
        """Raises UserError for a task without MuJoCo, without a limit of steps, of discrete actions, or that its last
        step decides."""
        self.policy, self.task = policy, task
        self._codec, self._rule = codec_for(task).action, task.env.success
        rule, spec = self._rule, task.env
        made = [gym.make(spec.id, **spec.kwargs) for _ in range(CANDIDATES + 1)]
        by_steps = rule and rule.of not in ("reward", "terminated") and not rule.at_the_end
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
        """(d,) of the action space, as an answer says it."""
        now = physics_of(env.unwrapped.data)
        if now.tobytes() not in self._planned.get(env.unwrapped, {}):
            left = env.spec.max_episode_steps - env.get_wrapper_attr("_elapsed_steps")
            self._planned[env.unwrapped] = self._plan(now, self.policy.observe(env), -(-left // self.task.env.repeat))
        return self._planned[env.unwrapped][now.tobytes()]

    def _plan(self, now: np.ndarray, seen: np.ndarray, left: int) -> dict[bytes, np.ndarray]:
        """The first actions of the best, `left` actions before the end."""
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
        """(CANDIDATES + 1, d), of all sizes from a tenth of the largest on; the first is none."""
        rng, space = np.random.default_rng(state.view(np.uint32)), self._codec.space
        sizes = SCALE * 10 ** -rng.random((len(self._envs), 1))
        sizes[0] = 0
        return sizes * rng.standard_normal((len(sizes), *space.shape)) * (space.high - space.low) / 2

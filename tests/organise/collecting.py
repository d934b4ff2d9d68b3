"""Run by `test_memory.py` in a process of its own: practice as a stage does it, and the most memory that it took.

python collecting.py FOLDER EPISODES PX [held]: episodes of noise, streamed into a store as they end; then the final
store, in the order of the starts, which is read again, and rows for training. held: without letting go of the frames.
"""

import resource
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np

from agent.collect.rollout import rollout
from agent.organise.rows import Example, sft_rows
from agent.organise.store import EpisodeStore
from envs.task import EnvSpec, Task
from policies.base import Decision

STEPS = 8
AT_ONCE = 16  # episodes, in one part


class Noise(gym.Env):
    """A picture of noise after every step: what does not compress is the most that frames can take."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012 (gymnasium's own form)
    instruction = "look"

    def __init__(self, px, render_mode=None):
        self.px, self.render_mode = px, render_mode
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = gym.spaces.Box(0.0, np.inf, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = self.np_random.integers(2**32)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.state = self.np_random.integers(2**32)
        return np.zeros(1, np.float32), 1.0, False, False, {"success": False}

    def render(self):
        return np.random.default_rng(self.state).integers(0, 256, (self.px, self.px, 3), np.uint8)


class Still:
    def act(self, observations, rngs):
        return [Decision("move +0 +0", np.zeros(2, np.float32)) for _ in observations]


class Streaming:
    """A rollout's subscriber that appends what has finished, by reference."""

    def __init__(self, store, by_reference):
        self.store, self.by_reference, self.finished = store, by_reference, []

    def on_episode(self, episode):
        self.finished.append(episode)
        if len(self.finished) == AT_ONCE:
            self.store.append(self.finished, self.by_reference)
            self.finished = []


def main(folder: Path, episodes: int, px: int, held: bool) -> None:
    gym.register("HandEyeTest/Noise-v0", Noise, max_episode_steps=STEPS, disable_env_checker=True)
    task = Task("noise", "test", "practice", EnvSpec("HandEyeTest/Noise-v0", {"px": px}, image_size=px), setback=-1.0)
    streaming = Streaming(EpisodeStore(folder / "working"), not held)
    played = rollout(task, Still(), [(seed, 0) for seed in range(episodes)], AT_ONCE, [streaming])
    final = EpisodeStore(folder / "final")
    final.append(played)
    if not held:
        played = list(final)
    rows = sft_rows(Example(step.observation.packed_frames(), [], "a") for e in played for step in e.steps)
    assert sum(np.array(row["images"][0]).size for row in rows) == episodes * STEPS * px * px * 3
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:] == ["held"])

"""`handeye doctor`: what this machine can do."""

import os
import time
from dataclasses import dataclass

FRAMES = 50  # rendered, to be timed


@dataclass(frozen=True)
class Doctor:
    """What this machine can do: versions, cores, a rendered frame."""

    def run(self) -> None:
        """Raises UserError, saying what to install, where no frame can be rendered."""
        import torch

        from agent.record.provenance import versions
        from envs.registry import TASKS

        for name, number in versions().items():
            print(f"{name:17} {number}")
        print(f"{'cores':17} {os.cpu_count()}, torch uses {torch.get_num_threads()} threads")
        print(f"{'GPU':17} {torch.cuda.get_device_name() if torch.cuda.is_available() else 'none (none is needed)'}")
        env = TASKS["reach"].make()
        env.reset(seed=0)
        env.render()
        started = time.perf_counter()
        for _ in range(FRAMES):
            env.render()
        frame_ms = 1000 * (time.perf_counter() - started) / FRAMES
        print(f"{'rendering':17} MUJOCO_GL={os.environ.get('MUJOCO_GL')}, {frame_ms:.1f} ms a frame")
        env.close()

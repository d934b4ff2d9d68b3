"""Two steps of a task through all that an episode goes through, before anything long starts.

    python -m agent.commands.probing TASK ...

does so in a process of its own, for commands whose episodes are rolled out by workers: an environment that kills its
process or does not end must not do so to the command.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np

from envs import registry
from envs.errors import UserError, first_line, shown
from envs.observation import Observation
from envs.task import Task
from policies.action_codec import TextCodec, codec_for
from policies.baselines import RandomPolicy

STEPS = 2
SEEDS = (0, 1, 2)  # an environment that raises now and then is played, its episodes are broken
TIME_S = 600.0  # of a process that probes
_PROBED = set[tuple[str, int]]()  # tasks that were probed in a process of their own, with the time of a YAML file


def probe(task: Task) -> None:
    """Reset and take two random actions, each through its words; observe, and look for success in `info`.

    Raises UserError, naming the task, where that cannot be done from any of SEEDS.
    """
    codec_for(task)  # raises UserError for a space that has no words, an unknown id, a missing package
    for seed in SEEDS:
        try:
            _play(task, seed)
            return
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # whatever an environment raises
            cause = error
    message = f"task {task.name!r} cannot be played: {type(cause).__name__}: {shown(first_line(cause))}"
    raise UserError(f"{message}; valid: one whose episodes can begin and go on for {STEPS} steps") from cause


def _play(task: Task, seed: int) -> None:
    codec, rng = codec_for(task), np.random.default_rng(seed)
    env = task.make()
    try:
        env.reset(seed=seed)
        _look(task, env)
        for _ in range(STEPS):
            if isinstance(codec.action, TextCodec):
                action = "1"
            else:
                (decision,) = RandomPolicy(codec.action.space).act([None], [rng])
                action = decision.action
            *_, terminated, truncated, info = env.step(codec.action.decode(codec.action.encode(action)))
            _look(task, env)
            if "success" not in info:
                keys = ", ".join(sorted(map(str, info))) or "none"
                raise UserError(f"task {task.name!r} tells no success: info has the keys {keys}; valid: a success rule")
            if terminated or truncated:
                break
    finally:
        env.close()


def _look(task: Task, env: gym.Env) -> Observation:
    """Raises UserError for frames that are none."""
    observation = task.observe(env)
    frames = observation.frames
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise UserError(f"task {task.name!r} has frames {frames.shape} {frames.dtype}; valid: (T, H, W, 3) uint8")
    return observation


def probe_apart(names: tuple[str, ...]) -> None:
    """`probe` the tasks in a process of their own, each once.

    Raises UserError as `probe` does, for a process that dies, and for one that does not end.
    """
    for name in names:
        registry.as_measured(name)  # raises UserError for an unknown one
    left = {name: (name, _stamp(name)) for name in names if (name, _stamp(name)) not in _PROBED}
    if not left:
        return
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    command = [sys.executable, "-m", "agent.commands.probing", *left]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIME_S, check=False)
    except subprocess.TimeoutExpired:
        message = f"{STEPS} steps of the tasks {', '.join(left)} did not end within {TIME_S:.0f} s"
        raise UserError(f"{message}; valid: an environment whose reset and step end") from None
    last = ["", *done.stdout.splitlines()][-1]  # the task at hand
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise UserError(f"task {last!r} ends its process by {name}; valid: one whose episodes can begin")
    if done.returncode:
        message = done.stderr.strip().splitlines() or [
            f"task {last!r} ends its process; valid: one whose episodes begin"
        ]
        raise UserError(message[-1])
    _PROBED.update(left.values())


def _stamp(name: str) -> int:
    """Changes with a file that declares a task."""
    return Path(name).stat().st_mtime_ns if Path(name).is_file() else 0


def main(names: list[str]) -> None:
    """Probe the tasks, saying the name of each before; what cannot be played is the last line of stderr."""
    for name in names:
        print(name, flush=True)
        try:
            probe(registry.as_measured(name))
        except (UserError, KeyboardInterrupt, SystemExit) as error:
            message = error if isinstance(error, UserError) else f"task {name!r} raises {type(error).__name__}"
            print(message, file=sys.stderr, flush=True)
            os._exit(2)
    sys.stdout.flush()
    os._exit(0)  # without what a simulator does at the interpreter's exit


if __name__ == "__main__":
    main(sys.argv[1:])

"""Shared fixtures: the embedded model with random weights, and a toy environment whose failures are chosen."""

import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from copy import copy
from dataclasses import replace

# Before torch or mujoco is imported: a waiting thread must not spin, and no test may reach for the network.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import gymnasium as gym
import numpy as np
import pytest

from agent.organise.episode import Episode, Step
from envs.observation import Observation, PackedFrame
from envs.registry import TASKS, tagged
from envs.task import EnvSpec, Task
from policies.base import Decision


@pytest.fixture(scope="session")
def words() -> tuple[str, ...]:
    """The words of the tabletop's tasks, each one token of the embedded policy's tokenizer."""
    from agent.optimise.pretrain import words

    return words(map(TASKS.get, tagged("tabletop")))


@pytest.fixture(scope="session")
def nano_checkpoint(words, tmp_path_factory):
    """A folder with the embedded policy, its weights random."""
    from policies.backends import nano
    from policies.backends.huggingface import HFBackend

    folder = tmp_path_factory.mktemp("nano") / "policy"
    HFBackend(*nano.build(words, seed=0)).save(folder)
    return folder


@pytest.fixture(scope="session")
def llava_checkpoint(words, tmp_path_factory):
    """A folder with a tiny LLaVA, its weights random."""
    import tiny_llava

    from policies.backends.huggingface import HFBackend

    folder = tmp_path_factory.mktemp("llava") / "policy"
    HFBackend(*tiny_llava.build(words)).save(folder)
    return folder


@pytest.fixture(params=["nano", "llava"])
def checkpoint(request):
    """A folder with a model of random weights, of two families in turn."""
    return request.getfixturevalue(f"{request.param}_checkpoint")


@pytest.fixture(scope="session")
def backend(nano_checkpoint):
    """The embedded policy with random weights. Shared: do not train it."""
    from policies.backends.loading import load_backend

    return load_backend(nano_checkpoint)


@pytest.fixture
def fresh_backend(nano_checkpoint):
    """The embedded policy with random weights, to be trained."""
    from policies.backends.loading import load_backend

    return load_backend(nano_checkpoint)


@contextmanager
def _listening(application, port=0):
    """The URL at which an application answers over HTTP on this machine, in a thread, while the block runs."""
    import uvicorn

    with socket.create_server(("127.0.0.1", port)) as listening:
        server = uvicorn.Server(uvicorn.Config(application, log_level="critical", http="h11", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = server.force_exit = True
            thread.join()


@pytest.fixture(scope="session")
def listening():
    """Serves an application while a block runs: `with listening(app) as url`."""
    return _listening


@pytest.fixture(scope="session")
def served(backend):
    """The URL of `handeye serve`'s application over `backend`."""
    from agent.serve.app import app
    from agent.serve.limits import Limits

    with _listening(app(backend, backend.processor.tokenizer, "nano", Limits())) as url:
        yield f"{url}/v1"


@pytest.fixture
def typed(monkeypatch, capfd):
    """The command in this process, as typed: exit status, output, errors."""

    def run(*arguments):
        from agent.cli import main

        monkeypatch.setattr(sys, "argv", ["handeye", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        return subprocess.CompletedProcess(arguments, code, *capfd.readouterr())

    return run


@pytest.fixture
def env(chosen):
    """The environment of the test module's fixture `chosen`, a task."""
    env = chosen.make()
    yield env
    env.close()


class ToyEnv(gym.Env[np.ndarray, np.ndarray]):
    """Counts steps. `ends` and `raises` map a seed to the step at which it succeeds or raises."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012 (gymnasium's own form)
    instruction = "count"

    def __init__(self, ends=None, raises=None, raises_in_reset=(), error=None, render_mode=None):
        self.ends, self.raises, self.raises_in_reset = ends or {}, raises or {}, raises_in_reset
        self.error = error or RuntimeError("the simulation diverged")
        self.render_mode = render_mode
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = gym.spaces.Box(0.0, np.inf, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seed, self.count = seed, 0
        if seed in self.raises_in_reset:
            raise RuntimeError("no scene")
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.count += 1
        if self.count == self.raises.get(self.seed):
            raise self.error
        success = self.count == self.ends.get(self.seed)
        return np.array([self.count], np.float32), 1.0, success, False, {"success": success}

    def render(self):
        return np.full((8, 8, 3), (self.seed * 16 + self.count) % 256, np.uint8)


gym.register("HandEyeTest/Toy-v0", entry_point=ToyEnv, max_episode_steps=4, disable_env_checker=True)


@pytest.fixture
def toy_task():
    """Makes a task of ToyEnv, given its arguments. It truncates after 4 steps."""

    def make(**kwargs) -> Task:
        env = EnvSpec("HandEyeTest/Toy-v0", kwargs)
        return Task("toy", "test", "practice", env, setback=TASKS["reach"].setback)

    return make


@pytest.fixture
def any_action():
    """Makes a task whose thoughts call for no action: random weights seldom act as their thought says."""

    def make(task: Task) -> Task:
        language = copy(task.language)
        language.called_for = lambda thought, proprioception: None
        return replace(task, language=language)

    return make


@pytest.fixture
def episode(toy_task, monkeypatch):
    """Makes an episode of one step per move (right, far). Each frame depends on all moves before it."""
    monkeypatch.setitem(TASKS, "toy", toy_task())

    def make(moves, success=False, seed=0, attempt=0, ending=None, task="toy", verdicts=None) -> Episode:
        steps, seen = [], np.full((1, 8, 8, 3), seed, np.uint8)
        for i, move in enumerate(moves):
            action = np.array(move, np.float32)
            verdict = verdicts[i] if verdicts else None
            decision = Decision(f"move {move[0]:+d} {move[1]:+d}", action, verdict)
            steps.append(Step(Observation(seen, "reach the red cube", f"gripper {i} {i}"), decision, float(i)))
            seen = (seen + np.uint8(50 + 3 * move[0] + 10 * move[1])).astype(np.uint8)
        ending = ending or ("terminated" if success else "truncated")
        error = "RuntimeError: boom" if ending == "broken" else ""
        return Episode(task, seed, attempt, steps, success, ending, error, None if error else PackedFrame.of(seen[0]))

    return make


@pytest.fixture
def here(tmp_path, monkeypatch, capfd):
    """The command in a folder of its own, in this process."""

    def run(*arguments):
        from agent.cli import main

        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["handeye", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return subprocess.CompletedProcess(arguments, end.value.code, *capfd.readouterr())

    return run

"""Speed and exactness against a reference. Both sides are measured in one process: ratios vary less across machines."""

import time
from collections.abc import Callable, Collection
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import gymnasium as gym
import numpy as np

from agent.collect.branching import Point
from agent.collect.rollout import Start, rollout
from agent.collect.workers import Job, policy_of
from agent.config import Critic
from agent.measure.benches.deciding import deciding
from agent.measure.benches.practising import practising
from agent.measure.benches.scaling import scaling
from agent.measure.benches.sides import bench_row, medians
from agent.measure.benches.training import Trainings, training
from envs.cameras import camera_of
from envs.registry import TASKS, tagged, task
from envs.rendering import UNLIT, mujoco
from envs.snapshot import Restorable

RESTORED = (
    *(name for name in tagged("tabletop") if TASKS[name].split == "practice"),
    "Reacher-v5",
    "Pusher-v5",
    "HalfCheetah-v5",
    "InvertedPendulum-v5",
    "CartPole-v1",
    "FrozenLake-v1",
)
RENDERED = ("half-cheetah", "hopper", "pusher", "fetch-push", "mw-push", "libero-object-0")
STEPPED = 100  # timed decisions
STEPS = 50  # replayed after a restore
SAVES = 500  # timed repeats of save and restore
FRAMES = 60  # timed frames of each renderer


def bench(
    checkpoint: Path, restores: int, parts: Collection[str] = (), trainings: Trainings = MappingProxyType({})
) -> list[dict[str, Any]]:
    """Rows of the named parts, or of all: name, unit, ours, reference, ratio (ours / reference), what was measured.

    trainings: of `agent.optimise`, by the config's section, for the part `train`.
    """
    measures = {
        "save": lambda: [saving("push")],
        "branch": lambda: [branching("push", checkpoint)],
        "criticise": lambda: [criticising("push", checkpoint)],
        "decide": lambda: deciding("push", checkpoint),
        "practise": lambda: practising("push", checkpoint),
        "train": lambda: training(checkpoint, trainings),
        "render": lambda: [row for name in RENDERED if task(name).is_installed() for row in rendering(name)],
        "step": lambda: [stepping(name) for name in RENDERED if task(name).is_installed()],
        "restore": lambda: [restoring(name, restores) for name in RESTORED],
        "scale": lambda: scaling() if find_spec("ray") else [],
    }
    return [row for part in parts or measures for row in measures[part]()]


def saving(name: str) -> dict[str, Any]:
    """Microseconds of a snapshot and its restore on a MuJoCo task, against MuJoCo's own calls."""
    env = make(name)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    model, data = env.unwrapped.model, env.unwrapped.data
    kind = mujoco.mjtState.mjSTATE_INTEGRATION
    state = np.empty(mujoco.mj_stateSize(model, kind))

    def bare() -> None:
        mujoco.mj_getState(model, data, state, kind)
        mujoco.mj_setState(model, data, state, kind)
        mujoco.mj_forward(model, data)

    ours, reference = _microseconds(lambda: env.restore(env.snapshot())), _microseconds(bare)
    env.close()
    what = f"snapshot() and restore() of {name} | mj_getState, mj_setState, mj_forward"
    return bench_row("save and restore", "us", ours, reference, what)


def rendering(name: str, n: int = FRAMES) -> list[dict[str, Any]]:
    """Frames per second of a MuJoCo task, against the environment's own render resized, and a bare mujoco.Renderer.

    The three render each state of one episode in turn, so that scenes and other load on the machine are the same.
    """
    chosen = task(name)
    env, own = chosen.make(), gym.make(chosen.env.id, render_mode="rgb_array", **chosen.env.kwargs)
    env.reset(seed=0), own.reset(seed=0)
    env.action_space.seed(0)
    inner, size = env.unwrapped, chosen.env.image_size
    bare = mujoco.Renderer(inner.model, size, size)
    for flag in UNLIT:
        bare.scene.flags[flag] = False
    camera, spent = camera_of(inner, chosen.env.cameras[-1]), {"ours": 0.0, "own": 0.0, "bare": 0.0}

    def scaled_down() -> None:
        cv2.resize(own.render(), (size, size), interpolation=cv2.INTER_AREA)

    def rendered() -> None:
        bare.update_scene(inner.data, camera)
        bare.render()

    for frame in range(n + 1):
        action = env.action_space.sample()
        if any(env.step(action)[2:4]) | any(own.step(action)[2:4]):
            env.reset(seed=frame), own.reset(seed=frame)
        for side, call in (("ours", env.render), ("own", scaled_down), ("bare", rendered)):
            started = time.perf_counter()
            call()
            spent[side] += (frame > 0) * (time.perf_counter() - started)  # the first frame creates the GL contexts
    env.close(), own.close(), bare.close()
    against = {"own": "env.render() and cv2.resize", "bare": "mujoco.Renderer, the same flags"}
    return [
        bench_row("rendering", "frames/s", n / spent["ours"], n / spent[side], f"{name}, {size} px | {what}")
        for side, what in against.items()
    ]


def stepping(name: str, n: int = STEPPED) -> dict[str, Any]:
    """Steps per second of a MuJoCo task, without pictures, against those of its environment without our wrappers."""
    chosen = task(name).with_env(frames=1)
    env, own = chosen.make(), gym.make(chosen.env.id, **chosen.env.kwargs)
    env.reset(seed=0), own.reset(seed=0)
    env.action_space.seed(0)
    repeat, spent = chosen.env.repeat, {"ours": 0.0, "own": 0.0}
    for decision in range(n):
        action = env.action_space.sample()
        started = time.perf_counter()
        ended = any(env.step(action)[2:4])
        between = time.perf_counter()
        for _ in range(repeat):
            ended = any(own.step(action)[2:4]) or ended
        spent["ours"] += between - started
        spent["own"] += time.perf_counter() - between
        if ended:
            env.reset(seed=decision), own.reset(seed=decision)
    env.close(), own.close()
    ours, reference = (n * repeat / spent[side] for side in ("ours", "own"))
    return bench_row(
        "stepping", "steps/s", ours, reference, f"{name}, without pictures | the environment as its package makes it"
    )


def _microseconds(call: Callable[[], Any]) -> float:
    times = []
    for _ in range(SAVES):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return 1e6 * float(np.median(times))


def branching(name: str, checkpoint: Path, n: int = 128, n_envs: int = 64) -> dict[str, Any]:
    """Decisions per second of branches from random moments of failures, against whole episodes of the same policy."""
    plain = Job(name, checkpoint, [(seed, 0) for seed in range(n)], temperature=1.0)
    with policy_of(plain) as policy:
        rollout(task(name), policy, plain.starts[:n_envs], n_envs)  # to warm up
        started = time.perf_counter()
        episodes = rollout(task(name), policy, plain.starts, n_envs, snapshots=True)
        reference = sum(len(e.steps) for e in episodes) / (time.perf_counter() - started)
        rng = np.random.default_rng(0)
        points = [Point(e, int(rng.integers(len(e.steps)))) for e in episodes if not e.success]
        starts: list[Start] = []
        while points and len(starts) < 2 * n:
            starts += [p.start(n + len(starts) + i, 0, p.episode.steps[p.step].decision) for i, p in enumerate(points)]
        started = time.perf_counter()
        branches = rollout(task(name), policy, starts, n_envs)
        ours = sum(len(e.steps) for e in branches) / (time.perf_counter() - started)
    return bench_row(
        "branching", "decisions/s", ours, reference, f"branches of {name} | whole episodes, {n_envs} at once"
    )


def criticising(
    name: str, checkpoint: Path, n: int = 32, n_envs: int = 32, proposals: int = 4, repetitions: int = 3
) -> dict[str, Any]:
    """CPU milliseconds per decision with proposals and their critiques, against a single answer."""

    def spent(critic: Critic) -> float:
        job = Job(name, checkpoint, [(seed, 0) for seed in range(n)], critic=critic)
        with policy_of(job) as policy:
            started = time.process_time()
            episodes = rollout(task(name), policy, job.starts, n_envs)
        return 1000 * (time.process_time() - started) / sum(len(e.steps) for e in episodes)

    sides = {"ours": lambda: spent(Critic(proposals)), "one": lambda: spent(Critic())}
    medians(sides, 1)  # to warm up
    each = medians(sides, repetitions)
    what = f"{name}: {proposals} proposals and their critiques | one answer, {n_envs} environments"
    return bench_row("criticising", "cpu-ms/decision", each["ours"], each["one"], what)


def restoring(name: str, n: int) -> dict[str, Any]:
    """The number of exact restores, of `n`."""
    return bench_row(
        "exact restores", "of all", replays(name, n), n, f"{name}: {STEPS} steps after a restore, bit for bit"
    )


def make(name: str) -> Restorable:
    """The environment of a task by its name, or of a Gymnasium id."""
    return TASKS[name].make() if name in TASKS else Restorable(gym.make(name))


def trajectory(env: Restorable, actions: list[Any]) -> list[tuple]:
    """(observation, reward, terminated, truncated, fingerprint) of each action, until the episode ends."""
    result = []
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        result.append((np.asarray(observation).tobytes(), reward, terminated, truncated, env.fingerprint()))
        if terminated or truncated:
            break
    return result


def wander(env: Restorable, seed: int) -> list[Any]:
    """Take fewer than 30 random steps into the episode of `seed`, not to its end; returns `STEPS` further actions."""
    env.action_space.seed(seed)
    actions = [env.action_space.sample() for _ in range(seed % 30 + STEPS)]
    env.reset(seed=seed)
    played = trajectory(env, actions[:-STEPS])
    if played and any(played[-1][2:4]):
        env.reset(seed=seed)
        trajectory(env, actions[: len(played) - 1])
    return actions[-STEPS:]


def replays(name: str, n: int) -> int:
    """How many of `n` states restore exactly: fingerprint and trajectory of the same actions are equal, bit for bit.

    Each state is restored in its own environment, in another, and in its own again.
    """
    env, other, exact = make(name), make(name), 0
    for seed in range(n):
        actions = wander(env, 7 * seed)
        saved, fingerprint = env.snapshot(), env.fingerprint()
        first, same = trajectory(env, actions), True
        for again in (env, other, env):
            again.restore(saved)
            same &= again.fingerprint() == fingerprint and trajectory(again, actions) == first
        exact += same
        other.reset(seed=seed + 1)
    env.close()
    other.close()
    return exact

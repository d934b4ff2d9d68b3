"""Starts: which seeds begin different episodes, by what a reset decides.

A seed is no start. The first 200 held-out seeds of FrozenLake are 132 maps, and playing a map twice is no further
evidence. A start is known by its key, a hash of what the reset decided (`start_key`). Seeds that share a key are the
same start, except where the environment draws random numbers in its steps, as a slippery lake does: there every seed is
a start of its own. Keys of tasks with the same environment are comparable.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from hashlib import blake2b

import gymnasium as gym

from envs.errors import UserError
from envs.foreign.raising import is_of_environment
from envs.snapshot import Restorable, is_physical
from envs.splits import SPLITS, seeds
from envs.task import Task

PROBES = 8  # sequences of random actions that tell whether two seeds with the same key lead to the same states
PROBE_STEPS = 30  # of each sequence, at most
PATIENCE = 2000  # seeds without a new start that end a search
# Distinct starts of each split that training stays away from: as many as an evaluation plays. More would leave too few
# to train on where there are few: Taxi has 300 in all.
RESERVED = {"gate": 100, "heldout": 200, "final": 100}
# What a reset may change in a MuJoCo model, which is no part of MuJoCo's state.
MODEL = ("body_pos", "body_quat", "body_mass", "geom_pos", "geom_size", "geom_rgba", "site_pos", "site_rgba")

# Keys are computed once in a process.
_SPLITS: dict[str, tuple[str, ...]] = {}  # task -> the splits that it has starts in
_KEYS: dict[tuple[str, int], bytes] = {}  # (task, seed) -> key
_FIRST: dict[bytes, dict[str, tuple[Task, int]]] = {}  # hash of a reset -> the first seed of each task with that hash
_LEAD_APART: dict[tuple[str, str], bool] = {}  # of two tasks, whether seeds with the same hash lead to different states


def start_key(task: Task, env: gym.Env) -> bytes:
    """16 bytes (BLAKE2b) of what the last `env.reset(seed=...)` decided, without the states of random generators.

    An environment whose state holds more than numbers tells its start itself, by a method `start_key() -> bytes`.
    """
    inner, digest = env.unwrapped, blake2b(digest_size=16)
    for text in (task.env.id, task.language.instruction(env)):
        digest.update(text.encode() + b"\0")
    if hasattr(inner, "start_key"):
        digest.update(inner.start_key())
        return digest.digest()
    digest.update(env.get_wrapper_attr("fingerprint")(generators=False))
    if is_physical(env):
        for name in MODEL:
            digest.update(getattr(inner.model, name).tobytes())
    return digest.digest()


def distinct(task: Task, split: str, n: int, first: int = 0, but: Collection[bytes] = frozenset()) -> list[int]:
    """The first `n` seeds of the split, from its `first`-th on, whose starts differ, with no key among `but`.

    Raises UserError for seeds outside the split, and where fewer starts are found.
    """
    _check_split(task, split, n, first)
    found, looked = search(task, SPLITS[split][first:], n, but)
    if len(found) < n:
        raise too_few(task, split, n, len(found), looked)
    return found


def instructions(task: Task, some: Iterable[int]) -> tuple[str, ...]:
    """The different instructions that these seeds begin with, sorted."""
    with closing(task.make()) as env:
        found = set()
        for seed in some:
            env.reset(seed=seed)
            found.add(task.language.instruction(env))
    return tuple(sorted(found))


def as_needed(task: Task, split: str, n: int, batch: int = 50) -> Iterator[int]:
    """The seeds that `distinct` would find, at most `n` or as many as there are, a batch at a time.

    A search for many starts takes long where most seeds begin alike. Raises UserError as `distinct` does, at once.
    """
    _check_split(task, split, n)

    def found() -> Iterator[int]:
        done = 0
        while done < n:
            some, _ = search(task, SPLITS[split], min(n, done + batch))  # keys are cached: only new seeds cost a reset
            yield from some[done:]
            if len(some) < min(n, done + batch):
                return
            done = len(some)

    return found()


def _check_split(task: Task, split: str, n: int, first: int = 0) -> None:
    seeds(split, n, first)
    if split not in splits_of(task):
        raise UserError(f"split {split!r} of task {task.name!r} is empty; valid: {', '.join(splits_of(task))}")


def too_few(task: Task, split: str, n: int, found: int, looked: int) -> UserError:
    """The error for a search that found fewer than `n` starts."""
    alike = ", which all begin alike" if found == 1 and looked > 1 else ""
    among = f"found {found} distinct starts among the first {looked} seeds{alike}"
    return UserError(f"{n} episodes of {split} of {task.name!r}: {among}; valid: at most {found}")


def search(
    task: Task, candidates: Iterable[int], n: int, but: Collection[bytes] = frozenset(), repeats: bool = False
) -> tuple[list[int], int]:
    """At most `n` of the candidate seeds, with starts that differ and have no key among `but`; and how many were tried.

    The search ends early after `PATIENCE` seeds without a new start. repeats: starts may be the same as each other.
    """
    found, met, looked, barren = [], set(), 0, 0
    with closing(keyed(task, candidates if n else ())) as pairs:
        for seed, key in pairs:
            looked, barren = looked + 1, barren + 1
            if key not in but and (repeats or key not in met):
                found.append(seed)
                met.add(key)
                barren = 0
            if len(found) == n or barren == PATIENCE:
                break
    return found, looked


def keys(task: Task, some: Iterable[int]) -> frozenset[bytes]:
    """The keys of these seeds."""
    return frozenset(key for _, key in keyed(task, some))


def reserved(task: Task, **more: int) -> frozenset[bytes]:
    """The keys of the first distinct starts of every split but practice: RESERVED of each, or `more` of a split."""
    return frozenset().union(*(reserved_of(task, split, n) for split, n in (RESERVED | more).items()))


def reserved_of(task: Task, split: str, n: int = 0) -> frozenset[bytes]:
    """The keys of the split's first `n` distinct starts, RESERVED without a number; fewer where there are fewer."""
    if split not in splits_of(task):
        return frozenset()
    return keys(task, search(task, SPLITS[split], n or RESERVED[split])[0])


def is_among(task: Task, env: gym.Env, seed: int, some: Collection[bytes]) -> bool:
    """Whether the episode that `env.reset(seed=seed)` has just begun has one of these keys; nothing is remembered."""
    hashed = start_key(task, env)
    return any(key.startswith(hashed) for key in some) and _distinct_key(task, seed, hashed) in some


def keyed(task: Task, some: Iterable[int]) -> Iterator[tuple[int, bytes]]:
    """Each seed with its key: one reset for a seed that was not asked for before."""
    env, name = None, _name(task)
    try:
        for seed in some:
            if (name, seed) not in _KEYS:
                env = env or _unseen(task)
                try:
                    env.reset(seed=seed)
                    _KEYS[name, seed] = _distinct_key(task, seed, start_key(task, env))
                except UserError:
                    raise
                except BaseException as error:
                    if not is_of_environment(error):
                        raise
                    # a rollout reports a broken episode of this seed
                    _KEYS[name, seed] = f"{name} {seed}".encode()
                    env = env.close()
            yield seed, _KEYS[name, seed]
    finally:
        if env:
            env.close()


def splits_of(task: Task) -> tuple[str, ...]:
    """The splits that the task has starts in: questions may lack a part."""
    name = _name(task)
    if name not in _SPLITS:
        env = _unseen(task)
        _SPLITS[name] = getattr(env.unwrapped, "splits", tuple(SPLITS))
        env.close()
    return _SPLITS[name]


def _unseen(task: Task) -> Restorable:
    """The task's environment without a history of frames, which would be rendered at each reset."""
    return task.with_env(frames=1).make()


def _name(task: Task) -> str:
    """What decides the task's starts, in words."""
    return f"{task.name} {task.env.id} {sorted(task.env.kwargs.items())}"


def _distinct_key(task: Task, seed: int, hashed: bytes) -> bytes:
    """The key of a seed: the hash of its reset, and the seed too where earlier seeds with that hash lead elsewhere."""
    name = _name(task)
    if (name, seed) in _KEYS:
        return _KEYS[name, seed]
    first = _FIRST.setdefault(hashed, {})
    for other, earlier in first.values():
        if not _lead_apart(task, seed, other, earlier):
            return _KEYS[_name(other), earlier]
    key = hashed + f"{name} {seed}".encode() if first else hashed
    if name not in first:
        first[name] = (task, seed)
        _KEYS[name, seed] = key
    return key


def _lead_apart(task: Task, seed: int, other: Task, earlier: int) -> bool:
    """Whether the same actions lead to different states from two seeds that were reset to the same state.

    That is so where the environment draws random numbers in its steps, and these have an effect. CliffWalking and Taxi
    draw some without any. It is a property of the tasks, found with the first two such seeds.
    """
    pair = _name(task), _name(other)
    if pair not in _LEAD_APART:
        env, beside = _unseen(task), _unseen(other)
        probes = () if hasattr(env.unwrapped, "start_key") else range(PROBES)
        _LEAD_APART[pair] = any(_states(env, seed, probe) != _states(beside, earlier, probe) for probe in probes)
        env.close(), beside.close()
    return _LEAD_APART[pair]


def _states(env: Restorable, seed: int, probe: int) -> list[tuple[bytes, bool, bool]]:
    """The states that a probe's random actions lead to from the start of a seed, to the end of the episode at most."""
    env.reset(seed=seed)
    env.action_space.seed(probe)
    states = []
    for _ in range(PROBE_STEPS):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        states.append((env.fingerprint(generators=False), terminated, truncated))
        if terminated or truncated:
            break
    return states

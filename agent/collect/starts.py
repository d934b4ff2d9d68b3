"""Where the episodes of a run begin: the seeds of its practice, branches, gate and report, as distinct starts.

Practice meets no start of the gate, of the report, or of the final split. A seed whose start was met before is replaced
by a spare one that no other round takes; where no start repeats, the seeds are consecutive (see `envs/starts.py`).
"""

from collections.abc import Iterator
from itertools import chain

from agent.config import Config
from envs import registry
from envs.errors import UserError
from envs.splits import SPLITS, seeds
from envs.starts import distinct, keys, reserved, reserved_of, search, too_few
from envs.task import Task

SEEDS_PER_RUN = 10_000  # practice seeds set aside for each seed of a run
FILMED = 500_000  # the first held-out seed that is filmed: no statistics use those from there on


def practice_seeds(config: Config, number: int, task: str) -> list[int]:
    """The starts of a round, fewer where a task has no more: new seeds each round, others for each seed of a run.

    Raises UserError for too many, or where no start is left.
    """
    n = config.collect.starts
    check_practice(config, number)
    block = seeds("practice", n, config.seed * SEEDS_PER_RUN + (number - 1) * n)
    candidates = chain(block, _spare(config, 2 * number - 2))
    found, looked = search(registry.task(task), candidates, n, _held_back(config, task))
    if not found:
        raise UserError(
            f"{looked} practice seeds of task {task!r} have only starts of the gate, the report or the final split; "
            "valid: fewer gate.episodes and evaluation.episodes, or a task with more starts"
        )
    return found


def branch_seeds(config: Config, number: int, task: str) -> list[int]:
    """The starts of a round's own failures to branch from, with seeds that are not practised; fewer where a task has no
    more. Raises UserError for too many."""
    n = config.branch.starts
    check_practice(config, number)
    block = seeds("practice", n, (config.seed + 1) * SEEDS_PER_RUN - number * n)
    candidates = chain(block, _spare(config, 2 * number - 1))
    return search(registry.task(task), candidates, n, _held_back(config, task))[0] if n else []


def gate_seeds(config: Config, number: int, task: str) -> list[int]:
    """The gate's starts in a round, new seeds each round, none with a start of the report.

    Raises UserError for too many, or more than the task has.
    """
    n, rounds = config.gate.episodes, max(config.rounds, number)
    block = seeds("gate", n, (number - 1) * n)
    spare = (len(SPLITS["gate"]) - rounds * n) // rounds
    candidates = chain(block, seeds("gate", spare, rounds * n + (number - 1) * spare))
    found, looked = search(registry.task(task), candidates, n, _reported(config, task))
    if len(found) < n:
        raise too_few(registry.task(task), "gate", n, len(found), looked)
    return found


def heldout_seeds(config: Config, task: str) -> list[int]:
    """The starts of the report. Raises UserError for too many, or more than the task has."""
    return distinct(registry.task(task), "heldout", config.evaluation.episodes)


def film_seeds(config: Config) -> range:
    """Held-out starts that are filmed."""
    return seeds("heldout", config.evaluation.videos, FILMED)


def pretraining_seeds(task: Task, n: int, first: int) -> list[int]:
    """`n` practice seeds from the `first`-th on, with starts that are not reserved for other splits; starts may repeat.

    Later seeds replace those of reserved starts (`envs.starts.reserved`). Raises UserError where there are too few.
    """
    seeds("practice", n, first)
    if not n:
        return []
    found, looked = search(task, SPLITS["practice"][first:], n, reserved(task), repeats=True)
    if len(found) < n:
        raise UserError(
            f"{n} practice seeds of task {task.name!r} from {first}: {len(found)} of {looked} have a start that is in "
            "no other split; valid: a task with more starts"
        )
    return found


def check_practice(config: Config, number: int) -> None:
    """Raises UserError for more practice seeds in so many rounds than a run has."""
    practised, branched = config.collect.starts, config.branch.starts
    if number * practised > SEEDS_PER_RUN:
        raise UserError(f"{number} rounds of {practised} starts; valid: at most {SEEDS_PER_RUN} starts in all")
    if number * (practised + branched) > SEEDS_PER_RUN:
        raise UserError(
            f"{number} rounds of {practised} starts and {branched} to branch from; "
            f"valid: at most {SEEDS_PER_RUN} in all"
        )


def _spare(config: Config, part: int) -> range:
    """Practice seeds of the run that no round takes first; a part each for every round's practice and its branches."""
    rounds = max(config.rounds, part // 2 + 1)
    taken = rounds * config.collect.starts
    n = max(0, (SEEDS_PER_RUN - taken - rounds * config.branch.starts) // (2 * rounds))
    return seeds("practice", n, config.seed * SEEDS_PER_RUN + taken + part * n)


def _reported(config: Config, task: str) -> frozenset[bytes]:
    """The keys of the report's starts, in the environment of the task."""
    return frozenset().union(*(keys(t, heldout_seeds(config, t.name)) for t in _alike(config.evaluation.tasks, task)))


def _held_back(config: Config, task: str) -> frozenset[bytes]:
    """The keys of starts that practice never meets: of the report, of all rounds' gates, of the final split."""
    rounds = range(1, config.rounds + 1)
    gates = [keys(t, gate_seeds(config, k, t.name)) for t in _alike(config.tasks, task) for k in rounds]
    evaluated = _alike((*config.evaluation.tasks, task), task)
    final = [reserved_of(t, "final") for t in evaluated]
    return _reported(config, task).union(*gates, *final)


def _alike(names: tuple[str, ...], task: str) -> Iterator[Task]:
    """The tasks among these with the environment of `task`, whose starts may be the same."""
    for name in dict.fromkeys(names):
        if registry.task(name).env.id == registry.task(task).env.id:
            yield registry.task(name)

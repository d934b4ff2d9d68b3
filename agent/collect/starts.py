"""Where episodes begin: the seeds of a run's practice, branches and gate, new ones in each round."""

from agent.config import Config
from envs.errors import UserError
from envs.splits import seeds

SEEDS_PER_RUN = 10_000  # practice seeds set aside for each seed of a run
FILMED = 500_000  # the first held-out seed that is filmed: no statistics use those from there on


def practice_seeds(config: Config, number: int) -> range:
    """The starts of a round: new ones each round, others for each seed of a run. Raises UserError for too many."""
    n = config.collect.starts
    if number * n > SEEDS_PER_RUN:
        raise UserError(f"{number} rounds of {n} starts; valid: at most {SEEDS_PER_RUN} starts in all")
    return seeds("practice", n, config.seed * SEEDS_PER_RUN + (number - 1) * n)


def branch_seeds(config: Config, number: int) -> range:
    """The starts of a round's own failures to branch from, none of them practised. Raises UserError for too many."""
    practised, n = config.collect.starts, config.branch.starts
    if number * (practised + n) > SEEDS_PER_RUN:
        raise UserError(
            f"{number} rounds of {practised} starts and {n} to branch from; valid: at most {SEEDS_PER_RUN} in all"
        )
    return seeds("practice", n, (config.seed + 1) * SEEDS_PER_RUN - number * n)


def gate_seeds(config: Config, number: int) -> range:
    """The gate's starts in a round, new ones each round. Raises UserError for too many."""
    n = config.gate.episodes
    return seeds("gate", n, (number - 1) * n)


def heldout_seeds(config: Config) -> range:
    """The starts of the report. Raises UserError for too many."""
    return seeds("heldout", config.evaluation.episodes)


def film_seeds(config: Config) -> range:
    """Held-out starts that are filmed."""
    return seeds("heldout", config.evaluation.videos, FILMED)

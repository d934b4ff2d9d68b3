"""Branch: what other answers at the same state would have brought, measured."""

from collections.abc import Callable

from agent.collect.branching import Branching
from agent.collect.starts import branch_seeds
from agent.collect.workers import Job
from agent.organise.episode import Episode
from agent.organise.pairs import forks
from agent.stages.round import Round


def branch(r: Round) -> dict[str, int | dict[str, int]]:
    """Other answers of the imitator at moments of failures, into `branches`.

    They are certified unless `collect.certify` is none. The failures are of this round's practice, or of new episodes
    played as branches are followed, which come too.
    """
    settings, played = r.config.branch, []
    for task in r.config.tasks if settings.failures or settings.starts else ():
        hot = settings.follow_temperature
        job = r.job(task, r.imitator, temperature=hot, certify=r.config.collect.certify != "none", end_loops=hot == 0)
        branching = Branching(r.workers, job, _charged(r), r.config.collect.attempts, r.rng(f"branch {task}"))
        tried = branching.explore([e for e in r.episodes("episodes") if e.task == task], settings)
        tried += branching.explore_own(branch_seeds(r.config, r.number, task), settings)
        played += r.concluded(job, tried)
        r.log(f"branch/{task}", branching.agreement())
    if played:
        r.store("branches").append(played)
    parted = list(forks(played))
    informative = sum(fork.is_informative(r.config.select.tie) for fork in parted)
    return {"branches": len(played), "branched": {"moments": len(parted), "informative": informative}}


def _charged(r: Round) -> Callable[[str, Job], list[Episode]]:
    return lambda title, job: r.play(title, job, "branch_env_steps")

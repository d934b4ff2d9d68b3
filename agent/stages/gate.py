"""Gate: the candidate replaces the incumbent only if it is better on seeds of the gate's own."""

from pathlib import Path
from typing import Any

from agent.collect.starts import gate_seeds
from agent.measure.gate import decide
from agent.organise.episode import Episode
from agent.stages.round import Round


def gate(r: Round, incumbent: Path) -> dict[str, Any]:
    """Whether the candidate passes, and the paired measurement behind it; both policies' episodes go into `gate`.

    New seeds each round: on the same ones the best of several candidates would pass for its luck.
    """
    standing, challenge = _played(r, "incumbent", incumbent), _played(r, "candidate", r.candidate)
    verdict = decide(r.seen(standing), r.seen(challenge), r.config.gate.p_value)
    return {
        "accepted": verdict.accepted,
        "gate": {"before": verdict.before, "after": verdict.after, "p_value": verdict.p_value},
    }


def _played(r: Round, role: str, checkpoint: Path) -> list[Episode]:
    """Greedy episodes, with the policy's own verdicts of their ends."""
    played = []
    for task in r.config.tasks:
        starts = [(seed, 0) for seed in gate_seeds(r.config, r.number, task)]
        job = r.job(task, checkpoint, starts=starts, critic=r.config.critic)
        played += r.concluded(job, r.measure(f"gate {role} {task}", job))
    r.store(f"gate/{role}").append(played)
    return played

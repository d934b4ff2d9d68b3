"""Relabel: failures that reached another goal become successes under that goal (hindsight experience replay)."""

from agent.collect.relabel import relabelled
from agent.stages.round import Round
from agent.stages.stage import stage


@stage
def relabel(r: Round) -> dict[str, int]:
    """The round's failures that succeed under another goal, into `relabelled`; none unless `select.relabel`."""
    if not r.config.select.relabel:
        return {}
    found, spent = relabelled(r.episodes("episodes"))
    r.charge(spent, "branch_env_steps")
    if found:
        r.store("relabelled").append(found)
    return {"relabelled": len(found)}

"""Episodes as a page lists them."""

from collections.abc import Mapping, Sequence

from agent.organise.episode import Episode
from agent.record.report.contents import Both, Entry

Key = tuple[str, int, int]  # task, seed, attempt


def entry(number: int, e: Episode, store: str, policy: str, of_round: int = 0, certificate: str = "none") -> Entry:
    """number: of the episode on the page. store: its folder, or what it was played for."""
    conclusion = e.conclusion
    return Entry(
        number=number,
        store=store,
        round=of_round,
        policy=policy,
        task=e.task,
        seed=e.seed,
        attempt=e.attempt,
        success=e.success,
        ending=e.ending,
        error=e.error,
        steps=len(e.steps),
        reward=_rounded(e.total_reward),
        branched_at=e.branched_at,
        verdict=conclusion and _rounded(conclusion.verdict),
        reason=conclusion.reason if conclusion else "",
        certificate=certificate,
        state=e.final_fingerprint.hex() if e.final_fingerprint else "",
    )


def _rounded(value: float) -> float:
    return round(float(value), 4)


def starts(where: str, before: Sequence[Episode], after: Sequence[Episode], numbers: Mapping[int, int]) -> list[Both]:
    """A line for each start of either side. numbers: id of an episode -> its number on the page."""
    sides = [{(e.task, e.seed, e.attempt): numbers[id(e)] for e in side} for side in (before, after)]
    keys: list[Key] = list(dict.fromkeys([*sides[0], *sides[1]]))
    return [Both(where, key[0], key[1], sides[0].get(key), sides[1].get(key)) for key in keys]

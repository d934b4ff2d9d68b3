"""Simulated error rates of the gate and of `eval --until`: `python -m agent.measure.error_rates` prints both tables.

No policy plays: the outcomes of episodes are drawn, and decided on by the code that decides in a run.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from agent.config import Gate
from agent.measure.gate import Tally, early, final
from agent.measure.sequential import confidence_sequence
from agent.measure.statistics import rate

FLIPPED = 0.3  # share of the starts on which two equally good policies differ in success, as of two rounds of a run
REPEATS = 2000


def simulate_gate(
    gains: Sequence[float], rule: Gate, repeats: int = REPEATS, flipped: float = FLIPPED, seed: int = 0
) -> tuple[float, float]:
    """How often a candidate passes, and the mean number of episodes of each task and policy.

    gains: what the candidate truly gains in the rate of success, of each task. A start of a task is gained with the
    probability (flipped + gain) / 2 and lost with (flipped - gain) / 2, where flipped is at least the gain's size.
    """
    rng = np.random.default_rng(seed)
    results = [_gate(gains, rule, flipped, rng) for _ in range(repeats)]
    passes, episodes = np.mean(results, axis=0)
    return float(passes), float(episodes)


def _gate(gains: Sequence[float], rule: Gate, flipped: float, rng: np.random.Generator) -> tuple[bool, int]:
    batch = rule.batch if rule.sequential else rule.episodes
    tallies, played = {str(i): Tally(0, 0, 0) for i in range(len(gains))}, 0
    while True:
        n = min(batch, rule.episodes - played)
        played += n
        for (task, tally), gain in zip(tallies.items(), gains, strict=True):
            either = max(flipped, abs(gain))
            gained, lost, _ = rng.multinomial(n, [(either + gain) / 2, (either - gain) / 2, 1 - either])
            tallies[task] = Tally(tally.gained + int(gained), tally.lost + int(lost), played)
        if played == rule.episodes:
            return final(tallies, rule)[0], played
        decision = early(tallies, dict.fromkeys(tallies, rule.episodes - played), rule)
        if decision is not None:
            return decision[0], played


def simulate_until(
    true_rate: float, half_width: float, anytime: bool = True, batch: int = 50, repeats: int = REPEATS, seed: int = 0
) -> tuple[float, float, float]:
    """Of intervals stopped at the half-width: how often they hold the true rate, how often all intervals up to there
    did, and the mean number of episodes. `anytime` or, wrongly used so, Wilson's.
    """
    rng = np.random.default_rng(seed)
    results = []
    for _ in range(repeats):
        k = n = 0
        always = True
        while True:
            k, n = k + int(rng.binomial(batch, true_rate)), n + batch
            low, high = confidence_sequence(k, n, half_width) if anytime else _wilson(k, n)
            held = low <= true_rate <= high
            always &= held
            if high - low <= 2 * half_width:
                break
        results.append((held, always, n))
    return tuple(float(mean) for mean in np.mean(results, axis=0))


@cache
def _wilson(k: int, n: int) -> list[float]:
    return rate([True] * k + [False] * (n - k))["ci95"]


def tables(repeats: int = REPEATS) -> str:
    """Markdown: the gate at several true gains, and the success rate's interval at several rates."""
    fixed = Gate(sequential=False)
    rules = {"fixed": fixed, "sequential": replace(fixed, sequential=True)}
    lines = [
        "| true gain in points, of two tasks | passes, fixed | passes, sequential | episodes per task, sequential |",
        "| --- | --- | --- | --- |",
    ]
    for gains in ([-20, -20], [0, 0], [5, 5], [10, 10], [20, 20], [40, 40], [40, -15], [40, -30]):
        shares = [gain / 100 for gain in gains]
        (f, _), (s, episodes) = (simulate_gate(shares, rule, repeats) for rule in rules.values())
        name = ", ".join(f"{gain:+d}" if gain else "0" for gain in gains)
        lines.append(f"| {name} | {100 * f:.1f} % | {100 * s:.1f} % | {episodes:.0f} of {fixed.episodes} |")
    lines += [
        "",
        "| true rate | holds at the stop | at every look | episodes | Wilson: at the stop | at every look | episodes |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for true_rate in (0.3, 0.5, 0.9):
        cells = [f"{100 * true_rate:.0f} %"]
        for anytime in (True, False):
            held, always, episodes = simulate_until(true_rate, 0.05, anytime, repeats=repeats // 2)
            cells += [f"{100 * held:.1f} %", f"{100 * always:.1f} %", f"{episodes:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(tables())

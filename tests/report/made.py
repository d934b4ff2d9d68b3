"""A run's folder without a training: two rounds of made-up episodes in real stores and a real journal.

What a model or a dataset may write holds HTML that would show itself if it were not escaped.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path
from unittest import mock

import numpy as np

from agent.config import Config
from agent.measure.gate import decide
from agent.measure.reporting import played_report
from agent.measure.statistics import heldout_gains, rate, successes, verdict_scores
from agent.organise.episode import Episode, Step
from agent.organise.store import EpisodeStore
from agent.record.run.journal import Done
from agent.record.rundir import RunDir
from envs.observation import Observation, PackedFrame
from envs.registry import TASKS
from envs.task import EnvSpec, Task
from policies.base import Decision
from policies.critic import Critique

EVIL = "<script>window.evil = 1</script>"
TAG = "<img src=x onerror=window.evil=1>"  # as the name of a folder, which has no slash
TASK = f"toy {EVIL}"
UNPRACTISED = "toy-heldout"
STEPS = 4


def config(**changes) -> dict:
    values = asdict(Config(policy="seed", tasks=(TASK,), evaluation={"tasks": [TASK, UNPRACTISED], "episodes": 6}))
    return values | changes


def episode(seed: int, success: bool, attempt: int = 0, task: str = TASK, first: int = 1, **settings) -> Episode:
    """first: of the first action; the frames before it are the same for one seed, those after it are not."""
    steps, shade = [], 40 + 20 * (seed % 8)
    for i in range(STEPS):
        frame = np.full((1, 16, 16, 3), shade % 256, np.uint8)
        frame[0, 4 * i % 16 : 4 * i % 16 + 4, :4] = 255
        move = first if i == 0 else 1
        proposals = ((f"see {EVIL}; move +{move} +0", 0.9), ("see; move -1 +0", 0.2))
        decision = Decision(proposals[0][0], np.array([move / 4, 0], np.float32), 0.9, proposals, f"because {EVIL}")
        seen = Observation(frame, f"do {EVIL}", f"gripper {i} {EVIL}")
        steps.append(Step(seen, decision, 0.5, bytes([seed % 256, i if i == 0 else first, i] * 5 + [0])))
        shade += 10 * first
    last = PackedFrame.of(np.full((16, 16, 3), 250 if success else 5, np.uint8))
    ending = "terminated" if success else "truncated"
    return Episode(task, seed, attempt, steps, success, ending, "", last, f"gripper {EVIL}", b"\x01" * 16, **settings)


def conclude(episodes: list[Episode], wrong: int = 0) -> list[Episode]:
    """With verdicts on their endings, of which the first `wrong` are wrong."""
    sure = [Critique(0.9 if e.success != (i < wrong) else 0.1, f"ends {EVIL}") for i, e in enumerate(episodes)]
    return [replace(e, conclusion=c) for e, c in zip(episodes, sure, strict=True)]


def outcomes(words: str, start: int, task: str = TASK) -> list[Episode]:
    """One episode for each character: 1 won, 0 lost, from seeds that begin with `start`."""
    return [episode(start + i, word == "1", task=task) for i, word in enumerate(words)]


def registered():
    """In the block, the made-up tasks are registered. Of their environment only the time limit counts."""
    env = EnvSpec("CartPole-v1")
    return mock.patch.dict(TASKS, {name: Task(name, "test", "practice", env) for name in (TASK, UNPRACTISED)})


def run(path: Path, complete: bool = True, before: str = "010010", after: str = "110110") -> Path:
    """The folder of a run of two rounds, the second of which is refused."""
    folder = RunDir(path)
    folder.begin(config(), {"python": "3.11"}, {"source": {"commit": "abc", "clean": True}, "seed_policy": "f00"})
    done = []

    def stage(number: int, name: str, row: dict, stores: dict[str, list[Episode]] | None = None, **spent: int) -> None:
        for store, episodes in (stores or {}).items():
            EpisodeStore(path / store).append(episodes)
        done.append(Done(number, name, row, spent, wall_s=6.0))
        folder.journal.add(done[-1])

    tasks = (TASK, UNPRACTISED)
    first = [e for task in tasks for e in outcomes(before, 100, task)]
    stage(0, "evaluate before", {"heldout_episodes": len(first)}, {"heldout/before": first}, env_steps=40)
    rows = []
    for number, candidate in ((1, "1111"), (2, "0101")):
        rows.append(_round(number, candidate, stage))
    second = [e for task in tasks for e in outcomes(after, 100, task)]
    if complete:
        stage(2, "evaluate after", {"heldout_episodes": len(second)}, {"heldout/after": second}, env_steps=40)
    sides = [{task: [e for e in side if e.task == task] for task in tasks} for side in (first, second)]
    gains = heldout_gains(sides[0], sides[1] if complete else None)
    results = {"schema": 1, "complete": complete, "config": config(), "rounds": rows, "budget": BUDGET, **gains}
    folder.write_results(results | {"model": {"device": "cpu", "dtype": "float32"}, "inexact": []})
    folder.close()
    return path


def _round(number: int, candidate: str, stage) -> dict:
    seeds = 10 * number
    practised = [episode(seeds + i, i % 2 == 0, attempt) for i in range(4) for attempt in range(2)]
    branches = [episode(seeds, won, 8 + first, first=first) for first, won in ((2, True), (3, False))]
    incumbent = conclude(outcomes("0110", 1000 * number))
    challenger = conclude(outcomes(candidate, 1000 * number), wrong=1)
    folder = f"round_{number:03d}"
    verdict = decide(incumbent, challenger, Config(policy="seed", tasks=(TASK,)).gate, {})
    row = {"round": number, "episodes": len(practised), "successes": 4, "sft_examples": SFT_ROWS[number], "pairs": 1}
    row |= {"sampled": rate([e.success for e in practised])}
    row |= {"branches": 2, "accepted": verdict.accepted, "gate": verdict.row(), "critic": {"auroc": 0.75, "brier": 0.2}}
    stage(
        number,
        "practise",
        {"episodes": 8},
        {f"{folder}/episodes": conclude(practised)},
        env_steps=32,
        practice_env_steps=32,
    )
    stage(number, "imitate", {"sft_examples": row["sft_examples"]})
    stage(number, "branch", {"branches": 2}, {f"{folder}/branches": branches}, branch_env_steps=8)
    stage(number, "prefer", {"pairs": 1})
    stores = {f"{folder}/gate/incumbent": incumbent, f"{folder}/gate/candidate": challenger}
    stage(number, "gate", {"accepted": verdict.accepted, "gate": verdict.row()}, stores, env_steps=32)
    stage(number, "criticise", {"critic": row["critic"]})
    return row


# two starts are won in each round, of 4 steps; the second round also imitates the first's, and its won branch
SFT_ROWS = {1: 2 * STEPS, 2: 4 * STEPS + STEPS}


BUDGET = {"env_steps": 208, "practice_env_steps": 64, "branch_env_steps": 16}


def baseline(folder: Path) -> Path:
    """The folder of a `handeye baseline` of TASK."""
    folder.mkdir()
    result = {"k": 3, "n": 6, "rate": 0.5, "ci95": [0.19, 0.81], "split": "heldout", "outcomes": "101010"}
    told = {"config": {"task": TASK, "algorithm": "ppo", "observe": "state"}, "steps": 90, "result": result}
    (folder / "baseline.json").write_text(json.dumps(told | {"curve": [[30, 0.1], [60, 0.3], [90, 0.6]]}))
    return folder


def evaluated(page: Path) -> Path:
    """The page of a `handeye eval`."""
    episodes = outcomes("0110", 100)
    told = {"task": TASK, "policy": EVIL, "split": "heldout", "result": rate(successes(episodes))}
    played_report.eval_report(page, told, episodes, "handeye eval toy", {"episodes": 4})
    return page


def audited(page: Path) -> Path:
    """The page of a `handeye audit`."""
    greedy, criticised = conclude(outcomes("0010", 100), wrong=1), outcomes("0111", 100)
    scores = verdict_scores([e.conclusion.verdict for e in greedy], [e.success for e in greedy])
    acting = heldout_gains({TASK: greedy}, {TASK: criticised})["heldout"][TASK]
    results = {TASK: {"ends": scores, "shuffled_ends": 0.5, "acting": acting}}
    played = {TASK: {"greedy": greedy, "criticised": criticised, "sampled": outcomes("01", 200)}}
    played_report.audit_report(page, results, played, "seed", "handeye audit seed", {})
    return page


def twin(page: Path) -> dict:
    """The JSON beside a page."""
    return json.loads(page.with_suffix(".json").read_text())

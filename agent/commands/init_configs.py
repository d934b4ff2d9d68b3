"""The text of the configs that `handeye init` writes: of a seed policy, and of the loop."""

from pathlib import Path
from typing import Any

import yaml

from agent.measure.ladder.rungs import Starts
from envs.checks.random_steps import has_random_steps
from envs.survey.play import Survey
from envs.task import Task

MARK = "# Written by `handeye init`"  # begins each file; one without is not overwritten
STARTS, MOST_STARTS, DECISIONS = 100, 300, 3000  # of a round's practice; short episodes begin from more starts
GATE, REPORT = 100, 200  # episodes
WANDER = 30  # steps into an episode, before a scene is asked about
BATCH = "per_device_train_batch_size: 64, learning_rate: 1.0e-3"


def typed(value: Any) -> str:
    """A value as YAML in one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False, allow_unicode=True)
    return text.removesuffix("...\n").strip()


def seed_config(found: Survey, name: str, task: Path, path: Path, chosen: Task) -> str:
    """The config of `handeye pretrain`. name: of the folders. task, path: of the task's file, and of this one."""
    name_of_task = typed(str(task))
    wander = max(1, min(WANDER, _middle(found) // chosen.env.repeat // 2))  # so that few random episodes end on the way
    sight, scenes = "", ""
    if chosen.teacher.captions:
        scenes = f"""
    scenes: 1000  # so that sight is not forgotten
    first_scene: 560_000
    wander: {wander}"""
        sight = f"""
  sight:  # captions and questions about scenes, from the state words
    {{scenes: 4000, wander: {wander}, sft: {{max_steps: 500, {BATCH},
      adam_beta2: 0.98, warmup_steps: 50, lr_scheduler_type: constant_with_warmup}}}}"""
    return f"""{MARK}: a seed policy, by `handeye pretrain {path}`.
out: runs/seeds/{name}  # checkpoint folder
tasks: [{name_of_task}]
start: seed  # the one that ships: it sees what lies on a table, and learns to see this in fewer steps
new_words: true
stages:{sight}
  form:  # what the expert does{scenes}
    demonstrations: {{{name_of_task}: 100}}  # episodes
    repeats: 4  # of each of their steps
    sft: {{max_steps: 500, {BATCH}, warmup_steps: 20}}
"""


def loop_config(found: Survey, name: str, task: Path, path: Path, known: Starts, chosen: Task) -> str:
    """The config of `handeye improve`, whose episodes follow from the starts that there are, and from their length."""
    name_of_task = typed(str(task))
    few, all_starts = known.distinct < known.seeds, known.estimated
    gate, report = (min(GATE, all_starts // 8), min(REPORT, all_starts // 4)) if few else (GATE, REPORT)
    why = f": {known.distinct} of {known.seeds} seeds differ, of about {all_starts} starts" if few else ""
    most = min(MOST_STARTS, all_starts // 4) if few else MOST_STARTS
    starts = max(STARTS, min(most, DECISIONS * chosen.env.repeat // max(1, _middle(found))))
    moments = "moments: 2, anywhere: 1, repeats: 4" if has_random_steps(chosen) else "moments: 4, anywhere: 3"
    return f"""{MARK}: two rounds of practice, training and gate:
# `handeye improve {path}`.
policy: runs/seeds/{name}  # from the seed config
tasks: [{name_of_task}]
out: runs/{name}  # run folder
collect: {{starts: {starts}, attempts: 4}}  # sampled episodes of a round
# other answers at restored states, each followed `repeats` times where steps are random
branch: {{starts: {starts}, env_steps: {40 * starts}, where: early, {moments}}}
select: {{per_start: 2, pair_repeats: 8, rehearsed: 500}}
sft: {{max_steps: 200, per_device_train_batch_size: 32, learning_rate: 5.0e-4, warmup_steps: 10}}
dpo: {{num_train_epochs: 1, per_device_train_batch_size: 16, learning_rate: 2.0e-4, loss_type: [sigmoid, sft],
  loss_weights: [1.0, 1.0], beta: 1.0}}
gate: {{episodes: {max(1, gate)}}}
# distinct held-out starts{why}
evaluation: {{tasks: [{name_of_task}], episodes: {max(1, report)}}}
"""


def _middle(found: Survey) -> int:
    """The median length of its episodes [steps]."""
    return sorted(len(e.rewards) for e in found.episodes)[len(found.episodes) // 2]

"""What a dialect is worth to a model that was not trained in it: `python -m agent.measure.dialects POLICY --tasks ...`.

Printed for each task and dialect: the tokens of a prompt; how probable it is that an answer keeps its form without the
grammar, along its greedy path (geometric mean over situations, and the same for one token); how many of these actions
differ; and the success of greedy episodes, with the grammar.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tyro
from rich.table import Table

from agent.collect.rollout import rollout
from agent.measure.statistics import rate, successes
from agent.record.console import console
from envs.errors import unknown
from envs.observation import Observation
from envs.registry import task as task_of
from envs.starts import distinct
from envs.task import Task
from policies.action_codec import action_of, codec_for
from policies.backend import Request
from policies.backends.huggingface import HFBackend
from policies.backends.loading import load_backend
from policies.backends.settings import ModelSettings
from policies.base import find_policy
from policies.dialect import dialect_for
from policies.mllm import MLLMPolicy

DIALECTS = {
    "terse": {"dialect": "terse"},
    "chat": {"dialect": "chat", "examples": 0},
    "chat, 1 example": {"dialect": "chat", "examples": 1},
    "chat, 3 examples": {"dialect": "chat", "examples": 3},
}


@dataclass(frozen=True)
class Measure:
    """How a model answers in each dialect, without training."""

    policy: tyro.conf.Positional[str]  # a checkpoint folder, or `seed`
    tasks: tuple[str, ...] = ("frozen-lake", "cartpole", "reach")
    situations: int = 8  # of each task: distinct held-out starts
    dialects: tuple[str, ...] = tuple(DIALECTS)
    episodes: int = 0  # of each task, greedy, from the first of these starts; a repeated observation ends one

    def run(self) -> None:
        """Raises UserError for an unknown dialect or task, and for a prompt that is too long for the model."""
        for name in self.dialects:
            if name not in DIALECTS:
                raise unknown("dialect", name, DIALECTS)
        backend = load_backend(find_policy(self.policy), ModelSettings())
        table = Table("task", "dialect", "tokens", "P(form)", "per token", "actions", "success")
        for name in self.tasks:
            for row in measured(backend, task_of(name), self.dialects, self.situations, self.episodes):
                table.add_row(name, *map(str, row.values()))
                print(name, *row.values(), sep=" | ", flush=True)
        console.print(table)


def measured(
    backend: HFBackend, task: Task, dialects: Sequence[str], situations: int, episodes: int
) -> Iterator[dict[str, Any]]:
    """A row for each of these DIALECTS."""
    starts, codec = distinct(task, "heldout", situations), codec_for(task)
    observations = list(_observed(task, starts))
    for name in dialects:
        dialect = dialect_for(replace(backend.settings, **DIALECTS[name]), backend.template, task)
        requests = [Request(o.frames, dialect.act(o)) for o in observations]
        prefilled = backend.prefill(requests)
        answers = [a for (a,) in prefilled.generate(codec.regex, [0.0], [[0]] * len(requests))]
        mass = float(prefilled.form_mass(codec.regex).mean())
        length = float(np.mean([len(tokens) for tokens in backend.reader.tokens(answers)]))
        row = {
            "dialect": name,
            "tokens": len(backend.reader.read(requests[0], backend.template.prompt(requests[0].messages))),
            "form": f"{np.exp(mass):.2g}",
            "per_token": f"{np.exp(mass / length):.3f}",
            "actions": f"{len(set(map(action_of, answers)))} of {len(answers)}",
            "success": "",
        }
        if episodes:
            policy = MLLMPolicy(backend, codec, dialect=dialect)
            played = rollout(task, policy, [(seed, 0) for seed in starts[:episodes]], end_loops=True)
            of = rate(successes(played))
            row["success"] = f"{of['k']} of {of['n']} ({np.mean([len(e.steps) for e in played]):.0f} steps)"
        yield row


def _observed(task: Task, starts: list[int]) -> Iterator[Observation]:
    env = task.make()
    try:
        for seed in starts:
            env.reset(seed=seed)
            yield task.observe(env)
    finally:
        env.close()


if __name__ == "__main__":
    tyro.cli(Measure).run()

"""Frames of another size than a task's own, from the rollout to the rows of the trainers; the embedded policy scales
them down, so that it plays as it does."""

from dataclasses import replace

import numpy as np
import pytest

from agent.collect.branching import Branching, Point
from agent.collect.relabel import relabelled
from agent.collect.rollout import rollout
from agent.collect.verify import Verifier
from agent.collect.workers import Job, Workers, policy_of, sized, task_of
from agent.config import Branch, Margin
from agent.organise.critiques import ending
from agent.organise.episode import Episode
from agent.organise.pairs import pairs
from agent.organise.rows import dpo_rows, sft_rows
from agent.organise.selection import examples
from agent.organise.store import EpisodeStore
from agent.record.video import CAPTION_HEIGHT, SIZE, film
from envs.registry import TASKS
from envs.starts import distinct, keys
from policies.action_codec import codec_for
from policies.backends.settings import ModelSettings
from policies.baselines import ExpertPolicy, RandomPolicy

PX = 96
LARGE = ModelSettings(image_size=PX)
REACH, PUSH = TASKS["reach"], TASKS["push"]


@pytest.fixture(scope="module")
def played():
    """A success of the expert and failures of random moves, on reach, from one start."""
    task = REACH.sized(PX)
    expert = rollout(task, ExpertPolicy(task, codec_for(task)), [(0, 0)], snapshots=True)
    random = rollout(task, RandomPolicy(codec_for(task).action.space), [(0, k) for k in range(1, 4)], snapshots=True)
    return expert + random


def certified(episodes):
    with Verifier() as verifier:
        return [verifier.flaw(e) for e in episodes]


def test_a_job_of_another_size(nano_checkpoint):
    job = Job("reach", nano_checkpoint, [(0, 0), (1, 0)], certify=True, model=LARGE)
    with policy_of(job) as policy:
        assert task_of(sized(job, policy)) == REACH.sized(PX)
    auto = replace(job, model=ModelSettings())
    with policy_of(auto) as policy:
        assert task_of(sized(auto, policy)) is REACH  # as it wants them
    episodes = Workers(1).rollout(job)
    assert {e.ending for e in episodes} <= {"terminated", "truncated"}  # none without a certificate
    assert {step.observation.frames.shape for e in episodes for step in e.steps} == {(1, PX, PX, 3)}
    assert {e.image_size for e in episodes} == {PX}
    ends = Workers(1).conclude(job, [e.end for e in episodes])
    assert len(ends) == 2


def test_episodes_are_stored_certified_and_filmed_at_their_own_size(played, tmp_path):
    own = rollout(REACH, ExpertPolicy(REACH, codec_for(REACH)), [(1, 0)])
    EpisodeStore(tmp_path).append([*played, *own])
    loaded = list(EpisodeStore(tmp_path))
    assert [e.image_size for e in loaded] == [PX] * len(played) + [64]
    for e, original in zip(loaded, [*played, *own], strict=True):
        np.testing.assert_array_equal(e.steps[-1].observation.frames, original.steps[-1].observation.frames)
    assert certified(loaded) == [""] * len(loaded)
    assert film(loaded[0]).shape == (len(loaded[0].steps) + 1, SIZE + CAPTION_HEIGHT, 2 * SIZE, 3)


def test_a_frame_that_was_changed_gets_no_certificate(played):
    (episode, *_), step = played, 1
    seen = episode.steps[step].observation
    steps = [
        replace(s, observation=replace(seen, frames=seen.frames ^ 1)) if s.observation is seen else s
        for s in episode.steps
    ]
    assert certified([replace(episode, steps=steps)]) == ["step 1: another observation"]


def test_rows_of_the_trainers_hold_the_frames(played):
    judged = [ending(e.end, "seen", e.success) for e in played]
    rows = sft_rows(examples(played[:1]) + judged)
    assert {image.size for row in rows for image in row["images"]} == {(PX, PX)}
    assert len(rows[-1]["images"]) == 2  # the first and the last frame
    found = pairs(played, Margin(0.5, 0.5), 10)
    assert found
    assert {image.size for row in dpo_rows(found) for image in row["images"]} == {(PX, PX)}


def test_branches_go_on_at_the_size_of_the_job(nano_checkpoint, played):
    job = Job("reach", nano_checkpoint, (), temperature=1.0, certify=True, model=LARGE)
    with Workers(1) as workers:
        branching = Branching(workers, job, lambda title, some: workers.rollout(some), 10, np.random.default_rng(0))
        settings = Branch(failures=1, where="early", answers=2)
        others = branching.others([Point(played[1], 0)], 2, 1.0)
        branches = branching.measure([Point(played[1], 2)], others, settings.repeats)
    assert branches
    assert {e.ending for e in branches} <= {"terminated", "truncated"}
    assert {step.observation.frames.shape for e in branches for step in e.steps} == {(1, PX, PX, 3)}
    assert certified(branches) == [""] * len(branches)


def test_failures_are_relabelled_at_their_own_size():
    task = REACH.sized(PX)
    codec = codec_for(task)

    class Mistaken(ExpertPolicy):
        """Goes to another object than the one that is asked for."""

        def act_on(self, envs):
            decisions = []
            for env in envs:
                scene, goal = env.unwrapped, env.unwrapped.goal
                scene.goal = (scene.other_goals() or [goal])[0]
                decisions += super().act_on([env])
                scene.goal = goal
            return decisions

    mistaken = rollout(task, Mistaken(task, codec), [(seed, 0) for seed in range(3)])
    found, _ = relabelled(mistaken)
    assert found
    assert {e.image_size for e in found} == {PX}
    assert certified(found) == [""] * len(found)


def test_starts_do_not_depend_on_the_frames():
    assert keys(PUSH.sized(PX), range(4)) == keys(PUSH, range(4))
    assert distinct(PUSH.sized(PX), "heldout", 3) == distinct(PUSH, "heldout", 3)


def test_an_episode_without_frames_has_no_size():
    assert Episode("reach", 0, ending="broken", error="no scene").image_size is None

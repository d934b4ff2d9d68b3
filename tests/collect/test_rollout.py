"""Rollouts: each start is played once, does not depend on the episodes beside it, and crashes alone."""

import signal

import numpy as np
import pytest

from agent.collect.rollout import Start, rollout
from agent.organise.episode import Moment
from envs.errors import UserError
from envs.registry import TASKS
from policies.action_codec import codec_for
from policies.base import Decision
from policies.baselines import ExpertPolicy, RandomPolicy, ZeroPolicy
from policies.mllm import MLLMPolicy

REACH = TASKS["reach"].with_env(kwargs={"goals": "practice", "max_episode_steps": 4})  # a model's step takes a while
STARTS = [(3, 1), (3, 0), (1, 0), (2, 0), (9, 0)]


class StepPolicy:
    """Answers with a legal action, and records how many observations each call had."""

    def __init__(self):
        self.batches = []

    def act(self, observations, rngs):
        self.batches.append(len(observations))
        return [Decision(f"{observation.frames[0, 0, 0, 0]}", np.zeros(2, np.float32)) for observation in observations]


class Listener:
    def __init__(self):
        self.heard = []

    def on_episode(self, episode):
        self.heard.append(episode)


def assert_same(episodes, others):
    assert len(episodes) == len(others)
    for a, b in zip(episodes, others, strict=True):
        assert (a.task, a.seed, a.attempt, a.success, a.ending) == (b.task, b.seed, b.attempt, b.success, b.ending)
        assert len(a.steps) == len(b.steps) > 0
        np.testing.assert_array_equal(a.final_frame, b.final_frame)
        for x, y in zip(a.steps, b.steps, strict=True):
            assert x.decision.answer == y.decision.answer
            assert x.reward == y.reward
            np.testing.assert_array_equal(x.decision.action, y.decision.action)
            np.testing.assert_array_equal(x.observation.frames, y.observation.frames)


@pytest.fixture(scope="module", params=["random", "nano"])
def policy(request):
    codec = codec_for(REACH)
    if request.param == "random":
        return RandomPolicy(codec.action.space)
    return MLLMPolicy(request.getfixturevalue("backend"), codec, temperature=1.0)


@pytest.fixture(scope="module")
def alone(policy):
    return rollout(REACH, policy, STARTS, n_envs=1)


@pytest.mark.parametrize("n_envs", [3, 16])
def test_episodes_do_not_depend_on_what_is_played_beside_them(policy, alone, n_envs):
    assert_same(rollout(REACH, policy, STARTS, n_envs), alone)


def test_episodes_come_in_the_order_of_the_starts(policy, alone):
    assert [(e.seed, e.attempt) for e in alone] == STARTS
    some = [STARTS[i] for i in (3, 0, 4)]
    assert_same(rollout(REACH, policy, some, 2), [alone[i] for i in (3, 0, 4)])


def test_attempts_from_one_start_begin_alike_and_go_on_differently(alone):
    first, second = alone[:2]
    assert first.seed == second.seed
    np.testing.assert_array_equal(first.steps[0].observation.frames, second.steps[0].observation.frames)
    assert any((a.decision.action != b.decision.action).any() for a, b in zip(first.steps, second.steps, strict=False))


def test_the_sampling_seed_changes_what_is_drawn(policy, alone):
    other = rollout(REACH, policy, STARTS, sampling_seed=1)
    assert any(
        (a.steps[0].decision.action != b.steps[0].decision.action).any() for a, b in zip(alone, other, strict=True)
    )


def test_the_expert_plays_through_the_codec():
    task = TASKS["push"]
    codec = codec_for(task)
    episodes = rollout(task, ExpertPolicy(task, codec), [(seed, 0) for seed in range(6)], n_envs=4)
    assert all(e.success and e.ending == "terminated" for e in episodes)
    for step in (step for e in episodes for step in e.steps):
        np.testing.assert_array_equal(codec.decode(step.decision.answer)[1], step.decision.action)


def test_a_step_holds_what_was_seen_before_it():
    task = TASKS["reach"]
    (episode,) = rollout(task, ExpertPolicy(task, codec_for(task)), [(5, 0)])
    env = task.make()
    env.reset(seed=5)
    for step in episode.steps:
        np.testing.assert_array_equal(step.observation.frames[0], env.render())
        assert step.observation.instruction == task.language.instruction(env)
        assert step.reward == pytest.approx(env.step(step.decision.action)[1])
    np.testing.assert_array_equal(episode.final_frame, env.render())
    np.testing.assert_array_equal(episode.end.frames, [episode.steps[0].observation.frames[0], env.render()])
    assert (episode.end.instruction, episode.end.proprioception) == (
        task.language.instruction(env),
        task.language.proprioception(env),
    )
    assert episode.total_reward == pytest.approx(sum(step.reward for step in episode.steps))
    env.close()


def test_quick_episodes_are_not_counted_more_often(toy_task):
    policy, listener = StepPolicy(), Listener()
    starts = [(seed, 0) for seed in range(10)]
    episodes = rollout(toy_task(ends={0: 1, 1: 1, 2: 1, 7: 3}), policy, starts, 3, [listener])
    assert [e.seed for e in episodes] == list(range(10))
    assert [len(e.steps) for e in episodes] == [1, 1, 1, 4, 4, 4, 4, 3, 4, 4]
    assert [e.success for e in episodes] == [seed in (0, 1, 2, 7) for seed in range(10)]
    assert [e.ending for e in episodes] == ["terminated" if e.success else "truncated" for e in episodes]
    assert sorted(e.seed for e in listener.heard) == list(range(10))
    assert max(policy.batches) == 3
    assert sum(policy.batches) == sum(len(e.steps) for e in episodes)


@pytest.mark.parametrize("n_envs", [1, 2, 8])
def test_an_environment_that_raises_breaks_its_own_episode(toy_task, n_envs):
    task = toy_task(ends={0: 2, 3: 3}, raises={1: 2, 4: 1}, raises_in_reset=(2,))
    listener = Listener()
    episodes = rollout(task, StepPolicy(), [(seed, 0) for seed in range(6)], n_envs, [listener])
    assert [e.ending for e in episodes] == ["terminated", "broken", "broken", "terminated", "broken", "truncated"]
    assert [len(e.steps) for e in episodes] == [2, 1, 0, 3, 0, 4]
    assert not any(e.success for e in episodes if e.ending == "broken")
    assert episodes[1].error == "RuntimeError: the simulation diverged"
    assert episodes[2].error == "RuntimeError: no scene"
    assert all(e.error == "" for e in episodes if e.ending != "broken")
    assert {id(e) for e in listener.heard} == {id(e) for e in episodes}


def test_an_impossible_action_breaks_the_episode_and_says_so():
    class TooFar:
        def act(self, observations, rngs):
            return [Decision("", np.full(2, 7.0, np.float32)) for _ in observations]

    (episode,) = rollout(TASKS["reach"], TooFar(), [(0, 0)])
    assert episode.ending == "broken"
    assert "ValueError" in episode.error
    assert "not in [-1, 1]" in episode.error


@pytest.mark.parametrize("n_envs", [1, 2, 8])
def test_a_user_error_in_the_first_episode_ends_the_rollout_and_later_only_its_own_episode(toy_task, n_envs):
    def starts(*seeds):
        return [(seed, 0) for seed in seeds]

    def task(raising):
        return toy_task(ends={0: 2}, raises={raising: 3}, error=UserError("no picture"))

    with pytest.raises(UserError, match="no picture"):
        rollout(task(3), StepPolicy(), starts(3, 1))
    episodes = rollout(task(1), StepPolicy(), starts(0, 1, 2), n_envs)
    assert [(e.ending, e.error) for e in episodes] == [
        ("terminated", ""),
        ("broken", "UserError: no picture"),
        ("truncated", ""),
    ]


def test_a_user_error_of_a_branch_breaks_the_branch_alone(toy_task):
    task = toy_task(raises={0: 3}, error=UserError("no picture"))
    env = task.make()
    env.reset(seed=0)
    moment = Moment(env.snapshot(), task.observe(env), env.fingerprint())
    (branch,) = rollout(task, StepPolicy(), [Start(0, moment=moment)])
    assert (branch.ending, branch.error, len(branch.steps)) == ("broken", "UserError: no picture", 2)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_an_environment_that_ends_the_program_breaks_its_own_episode(toy_task, error):
    before = signal.signal(signal.SIGINT, lambda *_: None)  # as the command line, whose handler tells signals apart
    try:
        episodes = rollout(toy_task(raises={1: 2}, error=error), StepPolicy(), [(0, 0), (1, 0)])
    finally:
        signal.signal(signal.SIGINT, before)
    assert [e.ending for e in episodes] == ["truncated", "broken"]
    assert episodes[1].error.startswith(type(error).__name__)


def test_a_person_ends_the_rollout(toy_task):
    with pytest.raises(KeyboardInterrupt):
        rollout(toy_task(raises={0: 2}, error=KeyboardInterrupt(signal.SIGINT)), StepPolicy(), [(0, 0)])


def test_a_policy_that_raises_is_a_bug_and_stops_the_rollout(toy_task):
    class Broken:
        def act(self, observations, rngs):
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        rollout(toy_task(), Broken(), [(0, 0)])


def test_no_starts_no_episodes(toy_task):
    assert rollout(toy_task(), StepPolicy(), []) == []


def test_zero_is_the_middle_of_the_space():
    space = codec_for(TASKS["reach"]).action.space
    (decision,) = ZeroPolicy(space).act([None], [None])
    np.testing.assert_array_equal(decision.action, [0, 0])

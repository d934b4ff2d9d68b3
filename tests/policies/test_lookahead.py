"""Lookahead: a trained policy that plans in the simulator; trained experts that ship."""

import numpy as np
import pytest

from agent.collect.rollout import rollout
from envs.errors import UserError
from envs.registry import TASKS
from envs.snapshot import physics_of
from policies.action_codec import codec_for
from policies.baselines import SHIPPED, ExpertPolicy, with_expert
from policies.lookahead import HOLD, Lookahead
from policies.sb3 import load


def quick(name, steps=None):
    """The task with one small frame, truncated after `steps`."""
    task = TASKS[name].with_env(image_size=8, frames=1)
    return task.with_env(kwargs={**task.env.kwargs, "max_episode_steps": steps}) if steps else task


def own(task):
    """The task with the trained policy itself as its expert, without lookahead."""
    return with_expert(task, SHIPPED[task.name])


def played(task, starts):
    return rollout(task, ExpertPolicy(task, codec_for(task)), starts)


def gained(episode):
    return sum(step.reward for step in episode.steps)


@pytest.fixture(scope="module")
def hopper():
    return quick("hopper", 60)


def test_it_brings_more_than_the_policy_itself(hopper):
    starts = [(seed, 0) for seed in range(3)]
    ahead, alone = played(with_expert(hopper), starts), played(own(hopper), starts)
    assert [gained(a) > gained(b) for a, b in zip(ahead, alone, strict=True)] == [True] * 3


@pytest.mark.slow
def test_it_succeeds_where_the_policy_itself_fails():
    starts = [(seed, 0) for seed in range(16)]
    pusher = quick("pusher")
    ahead, alone = played(with_expert(pusher), starts), played(own(pusher), starts)
    assert sum(e.success for e in ahead) > sum(e.success for e in alone)


def test_what_it_does_does_not_depend_on_what_is_played_beside_it(hopper):
    task, starts = with_expert(hopper), [(0, 0), (1, 0)]
    beside, alone = played(task, starts), [*played(task, starts[1:]), *played(with_expert(hopper), starts[:1])]
    assert [e.final_fingerprint for e in beside] == [e.final_fingerprint for e in reversed(alone)]


def test_what_cannot_be_simulated_is_not_done(hopper, monkeypatch):
    """Of disturbances that all break the simulation, the policy itself is left."""
    ahead, env = Lookahead(load(SHIPPED["hopper"], hopper), hopper), hopper.make()
    env.reset(seed=0)
    now, observed = physics_of(env.unwrapped.data), ahead.policy.observe(env)
    for each in ahead._envs[1:]:
        monkeypatch.setattr(each.unwrapped, "step", lambda action: (observed, np.inf, False, False, {}))
    plan = ahead._plan(now, observed, 20)
    assert len(plan) == HOLD
    codec = codec_for(hopper).action
    assert np.array_equal(plan[now.tobytes()], codec.decode(codec.encode(ahead.policy.action(observed[None])[0])))
    env.close()


def test_looking_moves_nothing(hopper):
    expert, env = with_expert(hopper).teacher.expert, hopper.make()
    env.reset(seed=0)
    before = env.fingerprint()
    _, action = expert(env)
    assert env.fingerprint() == before
    assert env.action_space.contains(action)


def test_what_is_foreseen_comes(hopper, monkeypatch):
    """It plans anew only after the steps of its plan, which go as predicted."""
    looked, plan = [], Lookahead._plan

    def counted(self, now, seen, left):
        looked.append(left)
        return plan(self, now, seen, left)

    monkeypatch.setattr(Lookahead, "_plan", counted)
    played(with_expert(hopper), [(0, 0)])
    assert looked == [60, 50, 40, 30, 20, 10]


@pytest.mark.parametrize("name", ["reacher", "cartpole", "reach"])  # judged by its end; without MuJoCo; by no rule
def test_tasks_that_cannot_be_looked_ahead_in(name):
    with pytest.raises(UserError, match=f"task '{name}' cannot be looked ahead in; valid: MuJoCo, continuous"):
        Lookahead(None, TASKS[name])


def test_only_a_task_without_a_scripted_expert_has_a_trained_one():
    assert set(SHIPPED) == {"half-cheetah", "hopper", "pusher"}
    assert not any(TASKS[name].teacher.expert for name in SHIPPED)
    assert with_expert(TASKS["cartpole"]) is TASKS["cartpole"]

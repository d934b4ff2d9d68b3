"""A failed episode that reached another goal becomes a success of that goal, once the simulator confirms it."""

from dataclasses import replace

import pytest

from agent.collect.budget import Spent
from agent.collect.relabel import relabelled
from agent.collect.rollout import rollout
from agent.collect.verify import Verifier
from agent.organise.selection import examples, hindsight
from agent.organise.store import EpisodeStore
from envs.errors import UserError
from envs.registry import TASKS
from envs.suites.tabletop.env import HELDOUT_OBJECTS
from policies.action_codec import codec_for
from policies.base import Decision
from policies.baselines import ExpertPolicy

REACH = TASKS["reach"]
CODEC = codec_for(REACH)


class Mistaken(ExpertPolicy):
    """Goes for another object on the table and names it in its thought."""

    def act_on(self, envs):
        decisions = []
        for env in envs:
            scene = env.unwrapped
            goal, others = scene.goal, scene.other_goals() or [o for o in scene.scene.objects if o != scene.goal]
            scene.goal = others[0]
            thought, action = self.task.teacher.expert(env)
            scene.goal = goal
            answer = self.codec.encode(thought.replace(others[0], goal), action)
            decisions.append(Decision(answer, self.codec.decode(answer)[1]))
        return decisions


@pytest.fixture(scope="module")
def mistaken():
    return rollout(REACH, Mistaken(REACH, CODEC), [(seed, 0) for seed in range(12)])


def test_a_mistake_is_a_success_of_another_goal(mistaken, tmp_path):
    failures = [e for e in mistaken if not e.success]
    found, spent = relabelled(mistaken)
    assert len(found) > len(failures) / 2
    assert spent.env_steps >= sum(len(e.steps) for e in found)
    assert spent.frames > spent.env_steps  # one after each step, and one before the first
    EpisodeStore(tmp_path).append(found)
    with Verifier() as verifier:
        assert {verifier.flaw(e) for e in (*found, *EpisodeStore(tmp_path))} == {""}
    for episode in found:
        goal = episode.options["goal"]
        assert goal not in HELDOUT_OBJECTS
        original = next(e for e in failures if e.seed == episode.seed)
        assert goal not in original.steps[0].observation.instruction
        for example in examples(hindsight([episode])):
            assert f"reach the {goal}" in str(example.prompt)
            assert example.answer.startswith(goal)
    one = found[0]
    assert len(examples(hindsight([one]))) == len(one.steps)  # its moves were right all along, for this goal


def test_what_reached_nothing_stays_a_failure(mistaken):
    still = [
        replace(e, steps=[replace(s, decision=replace(s.decision, action=0 * s.decision.action)) for s in e.steps])
        for e in mistaken
    ]
    assert relabelled(still)[0] == []


def test_successes_broken_episodes_and_tasks_of_one_goal_are_left_alone(mistaken):
    push = TASKS["push"]
    successes = rollout(REACH, ExpertPolicy(REACH, CODEC), [(0, 0)])
    failed_push = [replace(e, task=push.name) for e in mistaken]
    broken = [replace(e, ending="broken") for e in mistaken]
    assert relabelled([*successes, *failed_push, *broken]) == ([], Spent())


@pytest.mark.parametrize("goal", ["red sphere", *HELDOUT_OBJECTS])
def test_a_goal_that_may_not_be_is_refused(goal):
    env = REACH.make()
    with pytest.raises(UserError, match="unknown goal"):
        env.reset(seed=0, options={"goal": goal})
    env.close()

"""Episodes are read from disk exactly as they were written."""

from dataclasses import replace

import numpy as np
import pytest

from agent.collect.rollout import rollout
from agent.organise.store import EpisodeStore
from envs.observation import decode_png, encode_png
from envs.registry import TASKS
from policies.action_codec import codec_for
from policies.baselines import ExpertPolicy, RandomPolicy
from policies.critic import Critique


def assert_same(stored, episodes):
    stored = list(stored)
    assert len(stored) == len(episodes)
    for a, b in zip(stored, episodes, strict=True):
        assert (a.task, a.seed, a.attempt, a.success) == (b.task, b.seed, b.attempt, b.success)
        assert (a.ending, a.error, len(a.steps)) == (b.ending, b.error, len(b.steps))
        assert (a.final_frame is None) == (b.final_frame is None)
        assert a.conclusion == b.conclusion
        if b.final_frame is not None:
            np.testing.assert_array_equal(a.final_frame, b.final_frame)
        for x, y in zip(a.steps, b.steps, strict=True):
            np.testing.assert_array_equal(x.observation.frames, y.observation.frames)
            assert x.observation.frames.dtype == np.uint8
            assert x.observation.instruction == y.observation.instruction
            assert x.observation.proprioception == y.observation.proprioception
            assert x.decision.answer == y.decision.answer
            np.testing.assert_array_equal(x.decision.action, y.decision.action)
            assert x.decision.action.dtype == y.decision.action.dtype
            assert x.decision.verdict == (None if y.decision.verdict is None else pytest.approx(y.decision.verdict))
            assert (x.decision.proposals, x.decision.critique) == (y.decision.proposals, y.decision.critique)
            assert x.reward == y.reward


@pytest.fixture
def store(tmp_path):
    return EpisodeStore(tmp_path / "episodes")


@pytest.fixture(scope="module")
def played():
    task = TASKS["reach"]
    codec = codec_for(task)
    starts = [(4, 0), (2, 0), (2, 1)]
    policies = ExpertPolicy(task, codec), RandomPolicy(codec.action.space)
    return [episode for policy in policies for episode in rollout(task, policy, starts)]


def test_episodes_make_the_round_trip(store, played):
    store.append(played)
    assert_same(store, played)


def test_odd_episodes_make_the_round_trip(store, episode, toy_task):
    class Still:
        def act(self, observations, rngs):
            from policies.base import Decision

            return [Decision("", np.zeros(2, np.float32)) for _ in observations]

    broken = rollout(toy_task(raises={1: 2, 2: 1}, raises_in_reset=(3,)), Still(), [(s, 0) for s in (1, 2, 3)])
    judged = episode([(1, 0), (2, 1)], success=True, verdicts=[0.25, 0.3])
    judged.conclusion = Critique(0.125, "red cube 1 2 +0 +1")
    told = replace(
        judged.steps[1].decision, proposals=(("move +2 +1", 0.25), ("move +0 +0", 0.5)), critique="move +1 +1"
    )
    judged.steps[1] = replace(judged.steps[1], decision=told)
    episodes = [*broken, judged, episode([(0, 0)], ending="broken")]
    store.append(episodes)
    assert_same(store, episodes)


def test_choices_make_the_round_trip(store, episode):
    """A discrete action is an integer, also one that float32 cannot represent."""
    one = episode([(1, 0), (0, 1)])
    for i, choice in enumerate((0, 2**24 + 1)):
        one.steps[i] = replace(one.steps[i], decision=replace(one.steps[i].decision, action=np.int64(choice)))
    store.append([one, episode([(1, 1)])])
    assert_same(store, [one, episode([(1, 1)])])


def test_several_frames_an_observation(store, episode):
    frames = np.random.default_rng(0).integers(0, 256, (3, 8, 10, 3), np.uint8)
    one = episode([(1, 1)])
    one.steps[0] = replace(one.steps[0], observation=replace(one.steps[0].observation, frames=frames))
    store.append([one])
    assert_same(store, [one])


def test_a_second_append_adds(store, played, episode):
    store.append(played)
    before = {path: path.read_bytes() for path in store.folder.iterdir()}
    more = [episode([(1, 0)], seed=5), episode([(1, 0), (0, 1)], seed=1)]
    store.append(more)
    assert_same(store, played + more)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_many_parts_come_back_in_order(store, episode):
    for seed in range(12):
        store.append([episode([(1, 0)], seed=100 - seed)])
    assert [e.seed for e in store] == [100 - seed for seed in range(12)]


def test_nothing_but_parts_is_left(store, episode):
    store.append([episode([(1, 0)])])
    store.append([episode([(1, 0)])])
    assert sorted(path.name for path in store.folder.iterdir()) == ["part-00000.parquet", "part-00001.parquet"]


def test_an_append_that_fails_leaves_no_part(store, episode):
    def episodes():
        yield episode([(1, 0)])
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        store.append(episodes())
    assert list(store) == []


def test_a_store_can_be_read_many_times(store, episode):
    store.append([episode([(1, 0)])])
    assert len(list(store)) == len(list(store)) == len(list(EpisodeStore(store.folder))) == 1


def test_an_empty_store_holds_nothing(store):
    assert list(store) == []


def test_png_is_exact():
    frame = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    np.testing.assert_array_equal(decode_png(encode_png(frame)), frame)

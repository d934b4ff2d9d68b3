"""The fastest way back to a state that is exact is taken: 300 states of each kind are returned to."""

import pickle

import pytest

from envs.snapshot import Way

WAYS = [
    ("Clean", Way.COPY),
    ("Nested", Way.COPY),
    ("Global", Way.COPY),
    ("Sampling", Way.COPY),
    ("Keeping", Way.COPY),
    ("UnseededLevel", Way.COPY),
    ("Cloning", Way.CLONE),
    ("Delayed", Way.CLONE),
    ("BehindPhysics", Way.COPY),
    ("BehindSim", Way.COPY),
    ("Windowed", Way.COPY),
    ("Dusty", Way.COPY),
    ("Sharing", Way.ACTIONS),
]
STATES, AFTER = 300, 3


def followed(env, actions):
    given = [env.fingerprint(), env.observation_key()]
    for action in actions:
        _, reward, *flags, _ = env.step(action)
        given += [env.fingerprint(), env.observation_key(), reward, *flags]
    return [*given, env.render().tobytes()]


@pytest.mark.parametrize(("kind", "way"), WAYS)
def test_states_are_returned_to_exactly(unclean, kind, way):
    """In the environment that was left, and in another that played another episode."""
    task = unclean(kind)
    assert task.found().way is way
    env, other = task.make(), task.make()
    env.action_space.seed(0)
    exact = 0
    for i in range(STATES):
        if i % 10 == 0:
            env.reset(seed=i), other.reset(seed=i + 1)
        env.step(env.action_space.sample())
        saved = pickle.loads(pickle.dumps(env.snapshot()))
        actions = [env.action_space.sample() for _ in range(AFTER)]
        first = followed(env, actions)
        again = other if i % 2 else env
        again.restore(saved)
        exact += followed(again, actions) == first
        env.restore(saved)
    assert exact == STATES


def test_a_snapshot_that_was_copied_repeats_no_actions_and_carries_them(unclean):
    env = unclean("Nested").make()
    env.reset(seed=1)
    for _ in range(3):
        env.step(1)
    saved = env.snapshot()
    assert (saved.actions, saved.repeated, saved.is_repeated) == ((1, 1, 1), (), False)
    env.step(0)
    env.restore(saved)
    assert env.snapshot().actions == (1, 1, 1)


def test_the_state_behind_another_library_is_mujocos(unclean):
    env = unclean("BehindSim").make()
    env.reset(seed=1)
    env.step(1)
    before, saved = env.fingerprint(), env.snapshot()
    assert saved.physics is not None
    env.unwrapped.sim.data._data.qvel[0] += 1e-12
    assert env.fingerprint() != before

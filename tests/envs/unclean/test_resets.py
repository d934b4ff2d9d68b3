"""What a reset needs is found by trying; what no cure helps is refused, or played without evidence."""

import random

import gymnasium as gym
import numpy as np
import pytest
import unclean_line

from agent.collect.play import play
from agent.collect.rollout import rollout
from agent.collect.verify import Verifier
from envs.errors import UserError
from envs.foreign.resets.remade import Remade, Reset
from envs.starts import distinct
from envs.task import known, learn
from envs.wrappers import SuccessRule
from policies.action_codec import codec_for
from policies.baselines import RandomPolicy

CURES = [
    ("Clean", Reset.AS_IS),
    ("Nested", Reset.AS_IS),
    ("BehindPhysics", Reset.AS_IS),
    ("Unseeded", Reset.OWN_GENERATORS),
    ("Global", Reset.OWN_GENERATORS),
    ("Sampling", Reset.OWN_GENERATORS),
    ("UnseededLevel", Reset.ANEW),
    ("Keeping", Reset.ANEW),
]


def played(task, seeds=range(4), n_envs=2):
    return rollout(task, RandomPolicy(codec_for(task).action.space), [(seed, 0) for seed in seeds], n_envs)


@pytest.mark.parametrize(("kind", "reset"), CURES)
def test_the_cheapest_cure_is_found_and_every_episode_is_certified(unclean, kind, reset):
    task = unclean(kind)
    found = task.found()
    assert (found.reset, found.is_exact, found.has_starts) == (reset, True, True)
    episodes = played(task)
    with Verifier() as verifier:
        assert [verifier.flaw(e) for e in episodes] == [""] * 4
    assert len({e.steps[0].fingerprint for e in episodes}) == 4
    backwards = played(task, range(3, -1, -1), 1)
    assert {e.seed: e.final_fingerprint for e in episodes} == {e.seed: e.final_fingerprint for e in backwards}


def test_what_no_cure_helps_is_refused_with_the_word_that_plays_it(unclean):
    message = "does not decide its steps: .* made anew for each episode .*; valid: .*exact: false in the task's file"
    with pytest.raises(UserError, match=message):
        unclean("Timed").make()
    task = unclean("Timed", exact="false")
    assert not task.found().is_exact


@pytest.mark.parametrize(("reset", "is_taken"), [("as_is", False), ("own_generators", False), ("anew", True)])
def test_the_file_may_name_the_only_cure_that_is_tried(unclean, reset, is_taken):
    task = unclean("Keeping", reset=reset)
    if is_taken:
        assert task.found().reset is Reset.ANEW
        return
    with pytest.raises(UserError, match=r"does not decide the start: two with seed \d+ differ; valid"):
        task.make()


def test_a_reset_that_is_none_is_refused(unclean):
    with pytest.raises(UserError, match=r"'reset' = 'often'.*as_is"):
        unclean("Clean", reset="often")


def test_a_seed_without_effect_leaves_one_start_to_evaluate(unclean):
    task = unclean("Seedless")
    assert not task.found().has_starts
    seeds = distinct(task, "heldout", 1)
    assert [e.success for e in played(task, seeds)] == [True]
    with pytest.raises(UserError, match=r"found 1 distinct starts .*all begin alike; valid: at most 1"):
        distinct(task, "heldout", 2)


def test_what_was_found_in_another_process_is_not_tried_again(unclean, monkeypatch):
    task = unclean("Keeping")
    task.found()
    found = known()[task.name]
    made = unclean_line.Keeping.made
    monkeypatch.setattr("envs.task._tried", lambda *args: pytest.fail("tried again"))
    learn({task.name: found})
    task.make().close()
    assert unclean_line.Keeping.made == made + 1


# the wrapper ---------------------------------------------------------------------------------------------------------
def remade(kind, anew=True):
    return Remade(lambda: gym.make(f"HandEyeTest/Unclean{kind}-v0", render_mode="rgb_array"), anew)


def test_every_environment_that_is_made_is_closed_once():
    unclean_line.Keeping.made = unclean_line.Keeping.closed = 0
    env = remade("Keeping")
    for seed in range(3):
        env.reset(seed=seed)
    assert (unclean_line.Keeping.made, unclean_line.Keeping.closed) == (3, 2)
    env.close(), env.close()
    assert unclean_line.Keeping.closed == 3


def test_the_first_is_taken_only_where_its_constructor_drew_nothing():
    for kind, made in (("Keeping", 1), ("Unseeded", 2)):
        vars(unclean_line)[kind].made = 0
        env = remade(kind)
        env.reset(seed=3)
        assert vars(unclean_line)[kind].made == made


def test_a_failed_remake_breaks_its_own_episode_alone():
    unclean_line.Fragile.made = unclean_line.Fragile.closed = 0
    env = remade("Fragile")
    env.reset(seed=0), env.reset(seed=1)
    with pytest.raises(RuntimeError, match="no more windows"):
        env.reset(seed=2)
    env.reset(seed=2)
    env.close()
    assert unclean_line.Fragile.closed == 3  # the one that failed was never whole


def test_generators_of_others_are_left_alone_also_after_an_error():
    env = remade("Global", anew=False)
    before = _generators()
    env.reset(seed=1)
    env.step(1)
    env.render()
    with pytest.raises(TypeError):
        env.step(None)
    assert _generators() == before


def _generators():
    legacy = np.random.get_state()[1].tobytes()  # noqa: NPY002
    return legacy, random.getstate(), gym.utils.seeding.np_random, np.random.default_rng


def test_what_others_sample_does_not_move_the_environment():
    envs = [remade("Sampling", anew=False) for _ in range(2)]
    for env in envs:
        env.reset(seed=5)
    for _ in range(3):
        envs[0].action_space.sample()
    assert [float(env.step(1)[0][0]) for env in envs[:1]] == [float(envs[1].step(1)[0][0])]


# broken and timed-out episodes ----------------------------------------------------------------------------------------
def test_where_most_of_what_is_played_breaks_that_is_the_result(unclean):
    task = unclean("Ending")
    with pytest.raises(UserError, match=r"more than half of 8 episodes of .* broke: 5 x RuntimeError: no more"):
        play(task.name, "random", [(seed, 0) for seed in range(8)], n_envs=1)


@pytest.mark.parametrize(("limit", "ending"), [(60, "truncated"), (4, "terminated")])
def test_terminated_counts_where_the_environment_did_not_time_out(unclean, limit, ending):
    """At the last step of Gymnasium's own limit both flags may hold."""
    task = unclean("TimeOut", max_steps=limit)
    task = task.with_env(success=SuccessRule("terminated", at_least=1))
    (episode,) = played(task, [0])
    assert (episode.ending, episode.success) == (ending, ending == "terminated")

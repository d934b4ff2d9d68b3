"""Episodes of one answer: seeds, rewards, exact states, certificates, and the tasks that files declare."""

from pathlib import Path

import numpy as np
import pytest
from shipped_questions import SHIPPED, SIZES, declare

from agent.collect.rollout import rollout
from agent.collect.verify import Verifier
from agent.measure.statistics import successes
from agent.organise.store import EpisodeStore
from envs.errors import UserError
from envs.registry import task
from envs.splits import seeds
from envs.starts import distinct, keys
from envs.suites.questions import units as quantities
from policies.action_codec import codec_for
from policies.baselines import ExpertPolicy, RandomPolicy, ZeroPolicy


def test_seeds_of_a_split_ask_only_its_part(chosen, env):
    rows = env.unwrapped.rows
    for split, n in SIZES.items():
        assert len(keys(chosen, seeds(split, 2 * n))) == n  # each question is a start
        asked = []
        for seed in seeds(split, n + 1):
            env.reset(seed=seed)
            assert env.unwrapped.row in rows[split]
            asked.append(env.unwrapped.row)
        assert set(asked) == set(rows[split])
        assert asked[0] is asked[-1]  # over and over
    with pytest.raises(
        UserError, match="seed 3000000 is of split 'final', which has no questions; valid: practice, gate"
    ):
        env.reset(seed=3_000_000)
    with pytest.raises(UserError, match="seed 4000000 of a question; valid: 0 to 3999999"):
        env.reset(seed=4_000_000)


def test_an_episode_is_one_answer(chosen, env):
    env.reset(seed=0)
    before = chosen.observe(env)
    assert before.frames.shape == (1, 32, 32, 3)
    assert before.instruction == env.unwrapped.row.instruction
    assert str(env.unwrapped.row.answer) not in before.proprioception == ""
    action = codec_for(chosen).decode(codec_for(chosen).encode(*chosen.teacher.expert(env)))[1]
    _, reward, terminated, truncated, info = env.step(action)
    assert (reward, terminated, truncated, info["success"], info["is_success"]) == (1.0, True, False, True, True)
    assert chosen.observe(env).proprioception.startswith("answered ")
    with pytest.raises(ValueError, match="answered before"):
        env.step(action)


def test_a_letter_that_the_question_lacks_is_wrong(tmp_path):
    env = declare(tmp_path, "choices").make()
    seed = next(seed for seed in range(60) if env.reset(seed=seed) and len(env.unwrapped.row.choices) == 3)
    env.reset(seed=seed)
    assert env.step(3)[1:3] == (0.0, True)
    env.reset(seed=seed)
    with pytest.raises(ValueError, match="is not in Discrete"):
        env.step(4)
    env.close()


def test_what_is_no_quantity_is_wrong(tmp_path):
    env = declare(tmp_path, "free").make()
    for text in ("", "far", "14 parsec", "14 kg"):
        env.reset(seed=0)
        assert env.step(text)[1:3] == (0.0, True)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="is not in Text"):
        env.step(14)
    env.close()


def test_a_declaration_may_be_more_tolerant(tmp_path):
    path = tmp_path / "tolerant.yaml"
    path.write_text(f"questions: {SHIPPED / 'free'}\nanswers: free\ntolerance: 0.1\n")
    env = task(str(path)).make()
    env.reset(seed=0)
    length = quantities.split(env.unwrapped.row.answer)[0]
    assert env.step(f"{10.5 * length} mm")[1] == 1.0
    env.close()


def test_a_state_is_returned_to(chosen, env):
    env.reset(seed=7)
    snapshot, fingerprint, seen = env.snapshot(), env.fingerprint(), chosen.observe(env)
    action = RandomPolicy(env.action_space).act([seen], [np.random.default_rng(0)])[0].action
    after = env.step(action)
    ended, final = env.snapshot(), env.fingerprint()
    env.reset(seed=8)
    env.restore(snapshot)
    assert (env.fingerprint(), chosen.observe(env).key()) == (fingerprint, seen.key())
    np.testing.assert_equal(env.step(action), after)
    env.restore(ended)
    assert env.fingerprint() == final


def test_experts_are_right_random_is_chance_and_all_is_stored_and_certified(chosen, tmp_path):
    codec = codec_for(chosen)
    space, starts = codec.action.space, [(seed, 0) for seed in seeds("practice", 60)]
    policies = ExpertPolicy(chosen, codec), RandomPolicy(space), ZeroPolicy(space)
    played = [rollout(chosen, policy, starts) for policy in policies]
    assert [len(e.steps) for some in played for e in some] == [1] * 180
    expert, random, zero = (successes(some).mean() for some in played)
    assert (expert, random < 0.4, zero < 0.4) == (1, True, True)
    if chosen.actions.names[0] == "m":
        assert (random, zero) == (0, 0)
    store = EpisodeStore(tmp_path / "episodes")
    for some in played:
        store.append(some)
    again = list(store)
    with Verifier() as verifier:
        assert {verifier.flaw(e) for e in again} == {""}
    for before, after in zip((e for some in played for e in some), again, strict=True):
        a, b = before.steps[0].decision.action, after.steps[0].decision.action
        assert (a, np.asarray(a).dtype.kind) == (b, np.asarray(b).dtype.kind)


def test_more_episodes_than_questions_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"100 episodes of heldout of '.*choices.yaml': found 20 .*; valid: at most 20"):
        distinct(declare(tmp_path, "choices"), "heldout", 100)
    with pytest.raises(UserError, match=r"split 'final' of task .* is empty; valid: practice, gate, heldout"):
        distinct(declare(tmp_path, "choices"), "final", 1)


def test_the_declared_task_that_ships_is_read(tmp_path):
    """With the shipped questions in place of those that its comment says to write, which are more of the same."""
    text = (Path(__file__).parents[3] / "configs" / "tasks" / "scene_questions.yaml").read_text()
    path = tmp_path / "scene_questions.yaml"
    path.write_text(text.replace("runs/questions", str(SHIPPED)))
    assert len(distinct(task(str(path)), "heldout", SIZES["heldout"])) == SIZES["heldout"]


def test_a_bad_declaration_is_named(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("questions: nowhere\nanswers: letters\n")
    with pytest.raises(UserError, match="'answers' = 'letters'"):
        task(str(path))
    other = tmp_path / "worse.yaml"
    other.write_text("questions: nowhere\nimage: 64\n")
    with pytest.raises(UserError, match="unknown config key 'image'"):
        task(str(other))

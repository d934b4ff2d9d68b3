"""The .zip files of Stable-Baselines3 as policies and experts like any other, and files that do not fit."""

import re
import zipfile

import numpy as np
import pytest
from stable_baselines3 import A2C, PPO
from trained_models import STARTS, TRAINED, short

from agent.collect.play import play
from agent.collect.rollout import rollout
from agent.collect.verify import Verifier
from agent.config import Critic
from agent.organise.store import EpisodeStore
from envs.errors import UserError
from envs.registry import TASKS
from policies import sb3
from policies.action_codec import codec_for, thought_of
from policies.baselines import ExpertPolicy, with_expert
from policies.experts import trust
from policies.sb3 import PixelPolicy, StatePolicy, load


@pytest.mark.parametrize("name", TRAINED)
def test_a_saved_model_plays_the_same_episodes(models, name):
    """Loaded again, and in a batch of one, it plays the same."""
    task = short(TRAINED[name].task)
    pixels = TRAINED[name].observe == "pixels"
    first = load(models(name), task)
    assert isinstance(first, PixelPolicy if pixels else StatePolicy)
    together = rollout(task, first, STARTS)
    alone = rollout(task, load(models(name), task), STARTS, n_envs=1)
    for a, b in zip(together, alone, strict=True):
        assert (a.ending, a.success, len(a.steps)) == (b.ending, b.success, len(b.steps))
        assert a.ending != "broken", a.error
        assert a.final_fingerprint == b.final_fingerprint
        for x, y in zip(a.steps, b.steps, strict=True):
            np.testing.assert_array_equal(x.decision.action, y.decision.action)


@pytest.mark.parametrize("name", ["ppo", "sac", "trpo", "sac-pixels"])
def test_its_episodes_are_stored_and_certified(models, name, tmp_path):
    episodes = play(TRAINED[name].task, str(models(name)), STARTS[:2])
    store = EpisodeStore(tmp_path / "episodes")
    store.append(episodes)
    with Verifier() as verifier:
        for stored, episode in zip(store, episodes, strict=True):
            assert verifier.flaw(stored) == ""
            for x, y in zip(stored.steps, episode.steps, strict=True):
                np.testing.assert_array_equal(x.decision.action, y.decision.action)
                assert (x.decision.action.dtype, x.decision.answer) == (y.decision.action.dtype, y.decision.answer)


def test_it_looks_at_nothing_but_pixels(models):
    """A model trained on pixels has no `act_on`, the method that is given the environment's state."""
    policy = load(models("sac-pixels"), TASKS["reach"])
    assert not hasattr(policy, "act_on")


@pytest.mark.parametrize("name", ["ppo", "dqn"])
def test_a_model_is_an_expert(models, name):
    """As an expert it plays the episodes that it plays as a policy, and its answers parse."""
    task = short("cartpole")
    shown = with_expert(task, models(name))
    theirs = rollout(shown, ExpertPolicy(shown, codec_for(shown)), STARTS)
    own = rollout(task, load(models(name), task), STARTS)
    for a, b in zip(theirs, own, strict=True):
        assert [s.decision.action for s in a.steps] == [s.decision.action for s in b.steps]
        assert all(re.fullmatch(task.language.thought_regex, thought_of(step.decision.answer)) for step in a.steps)
        assert a.final_fingerprint == b.final_fingerprint


def test_a_task_with_thoughts_has_another_kind_of_expert(models):
    with pytest.raises(UserError, match="task 'reach' asks for a thought"):
        with_expert(TASKS["reach"], models("sac"))


# files that do not fit -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "task", "message"),
    [
        ("ppo", "reach", r"chooses actions of Discrete\(2\); valid for 'reach': Box"),
        (
            "sac",
            "cartpole",
            r"algorithm 'sac' cannot choose an action of Discrete\(2\).*'cartpole'.*valid: ppo, dqn, trpo",
        ),
        ("dqn", "reach", r"algorithm 'dqn' cannot choose.*'reach'.*valid: ppo, sac, trpo"),
        (
            "sac",
            "point-maze",
            r"trained on \(6,\); valid for 'point-maze': state .*, or pixels {'frames': \(6, 64, 64\)",
        ),
    ],
)
def test_a_model_of_another_task(models, name, task, message):
    if not TASKS[task].is_installed():
        pytest.skip("needs the extra robotics")
    with pytest.raises(UserError, match=message):
        load(models(name), TASKS[task])


def test_files_that_are_no_models(models, tmp_path):
    valid = "valid: a .zip that Stable-Baselines3 saved of ppo, sac, dqn, trpo"
    empty, text, other = (tmp_path / f"{name}.zip" for name in ("empty", "text", "other"))
    with zipfile.ZipFile(empty, "w"):
        pass
    text.write_text("not a zip")
    A2C("MlpPolicy", "CartPole-v1").save(other)
    for path, why in (
        (tmp_path / "nowhere.zip", "no policy in"),
        (empty, "holds no policy"),
        (text, "holds no policy"),
        (other, "another algorithm"),
    ):
        with pytest.raises(UserError, match=f"{why}.*{valid}|{path.name}.*{why}.*{valid}"):
            load(path, TASKS["cartpole"])


def test_an_archive_that_unpacks_too_large_or_elsewhere(models, tmp_path, monkeypatch):
    bomb, climber, cut = (tmp_path / f"{name}.zip" for name in ("bomb", "climber", "cut"))
    whole = models("ppo").read_bytes()
    for path in (bomb, climber):
        path.write_bytes(whole)
    with zipfile.ZipFile(bomb, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("zeros", "w") as entry:
        for _ in range(40):
            entry.write(bytes(2**20))
    with zipfile.ZipFile(climber, "a") as archive:
        archive.writestr("../../policy.pth", b"")
    cut.write_bytes(whole[:-30])
    trust.vouch(bomb)
    load(bomb, TASKS["cartpole"])
    with pytest.raises(UserError, match=r"has the entry '../../policy.pth', out of the archive"):
        load(climber, TASKS["cartpole"])
    with pytest.raises(UserError, match="holds no policy"):
        load(cut, TASKS["cartpole"])
    monkeypatch.setattr(sb3, "MOST_BYTES", 2**24)
    with pytest.raises(UserError, match=r"7 entries of [\d,]+ bytes; valid: at most 64 of 16,777,216"):
        load(bomb, TASKS["cartpole"])


def test_a_model_from_elsewhere(tmp_path):
    """Trained on Gymnasium's environment, without our wrappers."""
    path = tmp_path / "foreign.zip"
    PPO("MlpPolicy", "CartPole-v1", n_steps=64, batch_size=64).learn(64).save(path)
    trust.vouch(path)
    (episode,) = rollout(short("cartpole"), load(path, TASKS["cartpole"]), STARTS[:1])
    assert episode.ending in ("terminated", "truncated")


def test_only_a_checkpoint_has_a_temperature_and_a_critic(models):
    for policy in str(models("ppo")), "random", "expert":
        with pytest.raises(UserError, match=f"{policy}' has no temperature and no critic; valid: temperature 0"):
            play("cartpole", policy, STARTS, temperature=1.0)
        with pytest.raises(UserError, match="valid: temperature 0, 1 proposal"):
            play("cartpole", policy, STARTS, critic=Critic(proposals=4))

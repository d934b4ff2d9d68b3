"""Stable-Baselines3: trained on practice alone, and its .zip files as policies and experts like any other."""

import json
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import imageio.v3 as iio
import numpy as np
import pytest
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.env_checker import check_env

import agent.measure.baseline
from agent.cli import main
from agent.collect.play import play
from agent.collect.rollout import rollout
from agent.collect.verify import Verifier
from agent.config import Baseline, Critic
from agent.measure.baseline import baseline, train
from agent.organise.store import EpisodeStore
from agent.record.provenance import weights_sha256
from envs.errors import UserError
from envs.observation import Observation
from envs.registry import TASKS, tagged
from envs.splits import SPLITS
from policies.action_codec import codec_for, thought_of
from policies.baselines import ExpertPolicy, with_expert
from policies.sb3 import OBSERVE, PixelPolicy, Practice, StatePolicy, Within, encoded, load, watched

TRAINED = {
    "ppo": Baseline("cartpole", "ppo", steps=300, n_envs=2),
    "dqn": Baseline("cartpole", "dqn", steps=300, n_envs=2),
    "trpo": Baseline("hopper", "trpo", steps=400, n_envs=2, normalize=True, params={"gamma": 0.995}),
    "sac": Baseline("reach", "sac", steps=120, n_envs=1),
    "sac-pixels": Baseline("reach", "sac", "pixels", steps=104, n_envs=1),
    "ppo-pixels": Baseline("reach", "ppo", "pixels", steps=64, n_envs=4),
}
STARTS = [(seed, 0) for seed in (2_000_000, 2_000_001, 2_000_002)]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Trains each of TRAINED once, when it is asked for; its .zip."""
    folder, made = tmp_path_factory.mktemp("models"), {}

    def of(name) -> Path:
        if name not in made:
            made[name] = folder / f"{name}.zip"
            train(TASKS[TRAINED[name].task], TRAINED[name]).save(made[name])
        return made[name]

    return of


def short(name, steps=12):
    task = TASKS[name]
    return task.with_env(kwargs={**task.env.kwargs, "max_episode_steps": steps})


# what it is trained on -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("observe", OBSERVE)
@pytest.mark.parametrize("name", ["cartpole", "frozen-lake", "reach"])
def test_environments_are_what_sb3_takes(name, observe):
    env = watched(TASKS[name], observe)
    check_env(env, warn=False)
    env.close()


@pytest.mark.skipif(not TASKS["fetch-reach"].is_installed(), reason="needs the extra robotics")
def test_goals_beside_the_observation_are_part_of_the_state():
    env = watched(TASKS["fetch-reach"], "state")
    assert {"observation", "achieved_goal", "desired_goal"} <= set(env.observation_space.keys())
    env.close()


def test_only_practice_seeds_are_trained_on(toy_task):
    env, seeds = toy_task().make(), set()
    practice = Practice(env, (0, 0))
    for seed in (None, 1_000_000, 2_000_000, None) * 50:
        practice.reset(seed=seed)
        seeds.add(env.unwrapped.seed)
    assert len(seeds) > 190
    assert seeds <= set(SPLITS["practice"])
    assert max(seeds) > 500_000 > min(seeds)


def test_training_resets_to_practice_seeds_alone(monkeypatch):
    """Whatever it goes through."""
    met = []
    reset = gym.envs.classic_control.CartPoleEnv.reset

    def noted(self, *, seed=None, options=None):
        met.append(seed)
        return reset(self, seed=seed, options=options)

    monkeypatch.setattr(gym.envs.classic_control.CartPoleEnv, "reset", noted)
    train(TASKS["cartpole"], TRAINED["ppo"])
    assert len(set(met)) == len(met) > 5
    assert set(met) <= set(SPLITS["practice"])


def test_pixels_are_what_every_policy_sees():
    task = TASKS["cartpole"]
    env = watched(task, "pixels")
    env.reset(seed=0)
    for _ in range(8):
        seen, *_ = env.step(1)
    frames = task.observe(env.env).frames
    np.testing.assert_array_equal(seen["frames"], np.concatenate(frames.transpose(0, 3, 1, 2)))
    assert (frames[0] != frames[1]).any()
    env.close()


def test_actions_that_are_rounded_beyond_their_bounds_are_clipped():
    """As SAC's are, of 0.1 to 0.7 and the like."""
    env = Within(TASKS["pendulum"].make())
    env.reset(seed=0)
    env.step(np.nextafter(env.action_space.high, np.float32(9)))
    env.close()


def test_no_two_instructions_look_alike():
    """Also not those of the same words in another order."""
    instructions = {
        task.language.instruction(None) for task in TASKS.values() if task.suite not in ("tabletop", "questions")
    }
    for name in tagged("tabletop"):
        env = TASKS[name].make()
        for seed in range(60):
            env.reset(seed=seed)
            instructions.add(env.unwrapped.instruction)
        env.close()
    frames = np.zeros((1, 2, 2, 3), np.uint8)
    rows = {encoded(Observation(frames, words))["instruction"].tobytes() for words in instructions}
    assert len(rows) == len(instructions) > 100
    one, other = (
        encoded(Observation(frames, f"push the {a} cube to the {b} pad"))["instruction"]
        for a, b in (("red", "blue"), ("blue", "red"))
    )
    assert (one != other).any()


def test_numbers_keep_their_size():
    frames = np.zeros((1, 2, 2, 3), np.uint8)
    rows = encoded(Observation(frames, "reach", "gripper 20 -9"))["proprioception"]
    assert rows[1:3, -1].tolist() == [20 / 32, -9 / 32]
    assert not rows[3:].any()


def test_a_text_that_is_too_long_is_no_shorter_one():
    with pytest.raises(UserError, match="33 words; valid for pixels: at most 32"):
        encoded(Observation(np.zeros((1, 2, 2, 3), np.uint8), "go " * 33))


def test_frames_too_small_to_learn_from():
    with pytest.raises(UserError, match=r"frames of 16 x 16 px of task 'cartpole'; valid for pixels: at least 36 px"):
        watched(TASKS["cartpole"].with_env(image_size=16), "pixels")


def test_a_state_that_sb3_cannot_take_in():
    blackjack = replace(TASKS["cartpole"], name="blackjack").with_env(id="Blackjack-v1")
    with pytest.raises(UserError, match=r"the state of task 'blackjack' is Tuple.*valid: pixels"):
        watched(blackjack, "state")


def test_training_is_reproducible():
    seen = np.array([0.1, -0.2, 0.03, 0.4], np.float32)
    values = []
    for seed in (0, 0, 1):
        model = train(TASKS["cartpole"], replace(TRAINED["ppo"], seed=seed))
        values.append(float(model.policy.predict_values(model.policy.obs_to_tensor(seen)[0])))
    assert values[0] == values[1] != values[2]


def test_a_normalised_policy_plays_as_it_was_trained(monkeypatch):
    """Its states were normalised in training, and are not when it plays."""
    seen = {}

    def noted(normalised, model):
        rms = normalised.obs_rms
        assert rms.var.max() > 2 * rms.var.min()
        seen["states"] = rms.mean + np.sqrt(rms.var) * np.random.default_rng(0).normal(size=(9, 11))
        seen["actions"] = model.predict(normalised.normalize_obs(seen["states"]), deterministic=True)[0]
        fold(normalised, model)

    fold = agent.measure.baseline._fold
    monkeypatch.setattr(agent.measure.baseline, "_fold", noted)
    model = train(TASKS["hopper"], TRAINED["trpo"])
    folded = model.predict(seen["states"].astype(np.float32), deterministic=True)[0]
    np.testing.assert_allclose(folded, seen["actions"], atol=1e-4)
    assert np.abs(folded).max() > 1e-2


def test_parameters_are_the_algorithms_own():
    model = train(TASKS["cartpole"], replace(TRAINED["ppo"], params={"gamma": 0.5, "n_steps": 32, "batch_size": 64}))
    assert (model.gamma, model.n_steps, model.batch_size) == (0.5, 32, 64)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"gama": 0.9}, r"unknown parameter of ppo 'gama' \(did you mean 'gamma'\?\); valid: batch_size, .*vf_coef"),
        ({"seed": 3}, "unknown parameter of ppo 'seed'"),
        ({"n_epochs": 1.5}, "parameter 'n_epochs' of ppo is 1.5; valid: a whole number"),
        ({"batch_size": 1}, "parameters {'batch_size': 1} of ppo cannot be used: "),
    ],
    ids=str,
)
def test_parameters_that_do_not_fit(params, message, tmp_path):
    with pytest.raises(UserError, match=message):
        baseline(replace(TRAINED["ppo"], params=params), tmp_path / "made")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        (Baseline("cartpole", "ppo", "pixels", normalize=True), "ppo on pixels of task 'cartpole'"),
        (Baseline("frozen-lake", "trpo", normalize=True), "trpo on state of task 'frozen-lake'"),
        (Baseline("hopper", "sac", normalize=True), "sac on state of task 'hopper'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_normalised(settings, what, tmp_path):
    with pytest.raises(UserError, match=f"normalize with {what}; valid: ppo, trpo on a state that is a vector"):
        baseline(settings, tmp_path / "made")


# what it plays ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", TRAINED)
def test_a_saved_model_plays_the_same_episodes(models, name):
    """Whenever it is loaded, and whatever is played beside them."""
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
    """One that was trained on them: the environment's own state is not asked for."""
    policy = load(models("sac-pixels"), TASKS["reach"])
    assert not hasattr(policy, "act_on")


@pytest.mark.parametrize("name", ["ppo", "dqn"])
def test_a_model_is_an_expert(models, name):
    """Its episodes are those it plays itself, in words that say every action."""
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


def test_a_model_from_elsewhere(tmp_path):
    """Trained on the stock environment, without anything of ours."""
    path = tmp_path / "foreign.zip"
    PPO("MlpPolicy", "CartPole-v1", n_steps=64, batch_size=64).learn(64).save(path)
    (episode,) = rollout(short("cartpole"), load(path, TASKS["cartpole"]), STARTS[:1])
    assert episode.ending in ("terminated", "truncated")


def test_only_a_checkpoint_has_a_temperature_and_a_critic(models):
    for policy in str(models("ppo")), "random", "expert":
        with pytest.raises(UserError, match=f"{policy}' has no temperature and no critic; valid: temperature 0"):
            play("cartpole", policy, STARTS, temperature=1.0)
        with pytest.raises(UserError, match="valid: temperature 0, 1 proposal"):
            play("cartpole", policy, STARTS, critic=Critic(proposals=4))


# the command -----------------------------------------------------------------------------------------------------
@pytest.fixture
def here(tmp_path, monkeypatch, capfd):
    """The command in an empty folder, in this process: exit status, output, errors."""
    cwd = tmp_path / "here"
    cwd.mkdir()

    def run(*arguments):
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["handeye", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        return subprocess.CompletedProcess(arguments, code, *capfd.readouterr())

    run.cwd = cwd
    return run


@pytest.mark.slow
def test_a_baseline_is_made_and_played(here, models):
    result = here("baseline", "reach", "--observe", "state", "--steps", 64, "--episodes", 3, "--out", "made")
    assert result.returncode == 0, result.stderr
    assert "of 3 episodes" in result.stdout
    assert [path.name for path in here.cwd.iterdir()] == ["made"]
    told = json.loads((here.cwd / "made" / "baseline.json").read_text())
    assert told["provenance"]["policy"] == weights_sha256(here.cwd / "made" / "policy.zip")
    assert told["config"]["algorithm"] == "ppo"
    assert told["steps"] == 64
    assert told["result"]["n"] == len(told["result"]["outcomes"]) == 3
    again = here("eval", "reach", "--policy", "made/policy.zip", "--episodes", 3)
    line = next(line for line in result.stdout.splitlines() if line.startswith("reach:"))
    assert again.returncode == 0, again.stderr
    assert line in again.stdout  # the same episodes

    refused = here("baseline", "reach", "--steps", 64, "--out", "made")
    assert refused.returncode == 2
    assert "'made' exists" in refused.stderr
    assert json.loads((here.cwd / "made" / "baseline.json").read_text()) == told
    replaced = here("baseline", "reach", "--steps", 96, "--episodes", 1, "--out", "made", "--overwrite")
    assert replaced.returncode == 0, replaced.stderr
    assert json.loads((here.cwd / "made" / "baseline.json").read_text())["steps"] == 96

    for task, policy in (("reach", "made/policy.zip"), ("cartpole", models("dqn"))):
        assert here("watch", task, f"{task}.png", "--policy", policy).returncode == 0
        assert iio.imread(here.cwd / f"{task}.png").std() > 3
    assert here("rollout", "reach", "episodes", "--policy", "made/policy.zip", "--episodes", 2).returncode == 0
    assert "2 episodes certified, 0 left out" in here("replay", "episodes").stdout


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("raech",), ("'raech'", "'reach'")),
        (("reach-heldout",), ("'reach-heldout' is held out from practice", "reach, push")),
        (("reach", "--algorithm", "dqn"), ("'dqn'", "valid: ppo, sac, trpo")),
        (("cartpole", "--algorithm", "sac"), ("'sac'", "valid: ppo, dqn, trpo")),
        (("cartpole", "--params", "gama", 0.9), ("'gama'", "'gamma'")),
        (("cartpole", "--steps", 0), ("'steps'", "0")),
        (("cartpole", "--n-envs", 0), ("'n_envs'", "0")),
        (("cartpole", "--seed", -1), ("'seed'", "-1")),
        (("cartpole", "--episodes", 2_000_000), ("'heldout'", "2000000")),
        (("cartpole", "--out", "mine", "--overwrite"), ("'mine' is no baseline's folder",)),
    ],
    ids=str,
)
def test_bad_input_is_one_line(here, arguments, parts):
    (here.cwd / "mine").mkdir()
    (here.cwd / "mine" / "notes.txt").write_text("mine")
    result = here("baseline", *arguments)
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    for part in parts:
        assert part in result.stderr
    assert [str(path.relative_to(here.cwd)) for path in sorted(here.cwd.rglob("*"))] == ["mine", "mine/notes.txt"]


def test_nothing_is_left_of_a_training_that_fails(tmp_path, toy_task, monkeypatch):
    monkeypatch.setitem(TASKS, "toy", toy_task(raises=dict.fromkeys(SPLITS["practice"], 2)))
    with pytest.raises(RuntimeError, match="diverged"):
        baseline(Baseline("toy", steps=64), tmp_path / "made")
    assert list(tmp_path.iterdir()) == []


def test_no_episode_counts_twice(here):
    asked = Path(__file__).parents[1] / "data" / "questions" / "choices"
    (here.cwd / "asked.yaml").write_text(f"questions: {asked}\n")
    result = here("baseline", "asked.yaml", "--algorithm", "dqn", "--episodes", 21)
    assert result.returncode == 2
    assert "21 episodes of heldout of 'asked.yaml'; valid: at most 20" in result.stderr

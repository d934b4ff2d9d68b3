"""`expert:` of a declared task: trained once by Stable-Baselines3, kept by content, never half, refused in one line."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import agent.measure.baseline
from agent.collect.play import play
from agent.commands.arguments import are_foreign
from agent.commands.checks import check_pretrain
from agent.commands.training.pretrain import Pretrain as Pretraining
from agent.config import Baseline, Pretrain, Stage
from agent.measure.baseline import baseline, train, train_expert
from envs import registry
from envs.declared import forget
from envs.errors import UserError
from envs.foreign.teaching import TrainedExpert
from policies.baselines import with_expert
from policies.experts import cache, trust

ROOT = Path(__file__).parents[2]
SHORT = "expert: {sb3: ppo, steps: 64, n_envs: 2, until: 0}\n"
STAGES = {"form": Stage(demonstrations={"game.yaml": 1})}
STARTS = [(0, 0), (1, 0)]


@pytest.fixture
def untrained(monkeypatch):
    """Call it: whatever is trained from then on is an error."""

    def forbid(*asked):
        raise AssertionError(f"trained again: {asked}")

    return lambda: monkeypatch.setattr(agent.measure.baseline, "train", forbid)


def test_an_expert_is_trained_once_and_plays(catch, untrained, tmp_path, capsys):
    name = catch(SHORT)
    train_expert(registry.task(name))
    (folder,) = (tmp_path / "runs" / "experts").iterdir()
    made = json.loads((folder / "baseline.json").read_text())
    assert (made["config"]["algorithm"], made["steps"], made["result"]["n"]) == ("ppo", 64, 100)
    assert "of 100 held-out episodes after 64 steps" in capsys.readouterr().out
    untrained()
    trust._VOUCHED.clear()  # as in another process
    train_expert(registry.task(name))
    assert [len(episode.steps) for episode in play(name, "expert", STARTS)] == [18, 18]


def test_a_baseline_is_measured_before_the_ranges_of_state_words_are(catch, tmp_path):
    name = catch("sees: {ball: 'observation.0:2'}\n")
    assert are_foreign((name,))
    made = baseline(Baseline(name, "ppo", steps=64, n_envs=2, episodes=2), tmp_path / "made")
    assert made["result"]["n"] == 2


def test_what_training_depends_on_makes_another_expert(catch, dock):
    def key(name):
        return cache.folder_of(registry.task(name)).name

    same = key(catch(SHORT, "a.yaml"))
    for i, more in enumerate(("levels: 5\n", "image_size: 32\nframes: 2\n", "legend: [It falls.]\n")):
        assert key(catch(SHORT + more, f"same{i}.yaml")) == same
    others = [catch(SHORT + more, f"other{i}.yaml") for i, more in enumerate(("repeat: 2\n", "max_steps: 9\n"))]
    others += [catch(SHORT.replace("64", "65"), "b.yaml"), catch(SHORT.replace("ppo", "dqn"), "c.yaml")]
    others += [dock(SHORT, "d.yaml"), catch(SHORT.replace("until", "observe: pixels, until"), "e.yaml")]
    assert len({same, *map(key, others)}) == len(others) + 1


@pytest.mark.parametrize("observe", ["state", "pixels"])
def test_the_words_for_a_state_are_nothing_to_its_expert(catch, observe):
    """It is trained before their ranges are measured, and found when they are."""
    sees = "sees: {ball: [{of: observation.0, low: 0, high: 1}]}\n"
    name = catch(SHORT.replace("until", f"observe: {observe}, until") + sees)
    assert cache.folder_of(registry.task(name)) == cache.folder_of(registry.wordless(name))


def test_a_measured_repeat_does_not_change_the_expert_that_it_was_measured_with(catch, tmp_path):
    before = cache.folder_of(registry.task(catch(SHORT)))
    (tmp_path / "game.measured.yaml").write_text("repeat: 2\n")
    forget()
    chosen = registry.task("game.yaml")
    assert (chosen.env.repeat, cache.folder_of(chosen)) == (2, before)


def test_one_that_is_not_trained_is_refused_with_the_command_that_trains_it(catch, handeye, untrained):
    name = catch(SHORT.replace("until", "params: {gamma: 0.9}, until"))
    result = handeye("eval", name, "--policy", "expert", "--episodes", 2)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "is not trained yet; valid after handeye pretrain" in result.stderr
    command = shlex.split(result.stderr.split("or: handeye ")[1])
    # a process of its own, as typed: a worker of the evaluation above has started a server in this one
    typed = [sys.executable, "-m", "agent.cli", *command]
    subprocess.run(typed, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    untrained()
    trust._VOUCHED.clear()
    evaluated = handeye("eval", name, "--policy", "expert", "--episodes", 2)
    assert evaluated.returncode == 0, evaluated.stderr
    assert "of 2 episodes" in evaluated.stdout


@pytest.mark.parametrize("stopped", [KeyboardInterrupt, RuntimeError])
def test_nothing_is_left_of_a_training_that_is_interrupted(catch, tmp_path, monkeypatch, stopped):
    def interrupted(model, path):
        Path(path).write_bytes(b"half")
        raise stopped

    name = catch(SHORT)
    monkeypatch.setattr("stable_baselines3.PPO.save", interrupted)
    with pytest.raises(stopped):
        train_expert(registry.task(name))
    assert list((tmp_path / "runs" / "experts").iterdir()) == []
    assert cache.cached(registry.task(name)) is None


def test_what_is_not_what_was_trained_is_not_loaded(catch):
    name = catch(SHORT)
    task = registry.task(name)
    train_expert(task)
    trust._VOUCHED.clear()
    policy = cache.folder_of(task) / "policy.zip"
    policy.write_bytes(policy.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"is not the policy that baseline\.json beside it records; valid: delete"):
        with_expert(task)
    (policy.parent / "baseline.json").unlink()
    with pytest.raises(UserError, match="holds no whole expert"):
        with_expert(task)


def test_a_zip_lies_beside_the_tasks_file_and_is_trusted_by_its_hash_or_by_the_user(catch, handeye, tmp_path):
    trained = registry.task(catch(SHORT, "trained.yaml"))
    train_expert(trained)
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "mine.zip").write_bytes((cache.folder_of(trained) / "policy.zip").read_bytes())
    name = catch("expert: mine.zip\n", "tasks/game.yaml")
    assert registry.task(name).teacher.shown_by == TrainedExpert(Path("tasks/mine.zip"))
    trust._VOUCHED.clear()
    asked = ("eval", name, "--policy", "expert", "--episodes", 2)
    refused = handeye(*asked)
    assert refused.returncode == 2
    assert "'tasks/mine.zip' can run code" in refused.stderr
    assert handeye(*asked, "--trust").returncode == 0
    name = catch("expert: mine.zip\nsees: {ball: observation.1}\n", "tasks/seen.yaml")
    trust._VOUCHED.clear()
    measured = ("sees", name, "--episodes", 1, "--dry")
    assert "'tasks/mine.zip' can run code" in handeye(*measured).stderr
    assert "and 1 of its expert" in handeye(*measured, "--trust").stdout


def test_training_stops_when_the_evaluation_episodes_all_succeed(declare):
    name = declare("id: tests.games:Catch-v0\ninstruction: act\nsuccess: {of: return, at_least: -1}\n")
    settings = Baseline(name, "ppo", steps=4000, n_envs=2, params={"n_steps": 32, "batch_size": 64}, until=3)
    model = train(registry.task(name), settings)
    assert 200 <= model.num_timesteps < 400


def test_the_best_of_the_evaluations_is_kept(catch, monkeypatch):
    """Not the last: its weights are those of the moment at which it was measured."""
    kept = []

    def noted(best):
        kept.append(best.weights["action_net.bias"].clone())
        put_back(best)

    put_back = agent.measure.baseline._Best.put_back
    monkeypatch.setattr(agent.measure.baseline._Best, "put_back", noted)
    name = catch()
    params = {"n_steps": 64, "batch_size": 64, "learning_rate": 0.1}
    model = train(registry.task(name), Baseline(name, "ppo", steps=512, n_envs=1, params=params, until=6))
    assert (model.policy.state_dict()["action_net.bias"] == kept[0]).all()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("expert: {sb3: pp0}\n", "config section 'expert': config key 'sb3' = 'pp0': Input should be 'ppo', 'sac'"),
        ("expert: {sb3: ppo, stpes: 9}\n", "unknown config key 'stpes' .did you mean 'steps'"),
        ("expert: {sb3: ppo, steps: 0}\n", "'steps' = 0"),
        ("expert: {sb3: ppo, observe: touch}\n", "'observe' = 'touch'"),
        ("expert: ppo\n", "config key 'expert' = 'ppo'; valid: FILE.zip"),
        ("expert: {demonstrations: 3}\n", "'demonstrations' = 3"),
        ("expert: [a.zip]\n", "valid: FILE.zip of Stable-Baselines3, {sb3: ppo, steps: 50000}"),
        ("expert: {sb3: sac}\n", "algorithm 'sac' cannot choose an action of Discrete.3. .*; valid: ppo, dqn, trpo"),
        ("expert: {sb3: ppo, params: {gama: 1}}\n", "unknown parameter of ppo 'gama'"),
        ("expert: nowhere.zip\n", "no policy in 'nowhere.zip'"),
        ("expert: {demonstrations: nowhere}\n", "no demonstrations in 'nowhere'; valid: a folder"),
    ],
)
def test_an_expert_that_cannot_be_is_refused_before_anything_is_trained(catch, untrained, more, message, tmp_path):
    untrained()
    with pytest.raises(UserError, match=message):
        check_pretrain(Pretrain("out", (catch(more),), STAGES))
    assert not (tmp_path / "runs").exists()


def test_dqn_cannot_drive(dock):
    with pytest.raises(UserError, match=r"algorithm 'dqn' cannot choose an action of Box.*; valid: ppo, sac, trpo"):
        check_pretrain(Pretrain("out", (dock("expert: {sb3: dqn}\n"),), STAGES))


def test_a_folder_that_exists_is_refused_before_anything_is_trained(catch, handeye, untrained, tmp_path):
    catch(SHORT)
    untrained()
    stages = {"form": {"demonstrations": {"game.yaml": 1}}}
    (tmp_path / "seed.yaml").write_text(json.dumps({"out": "seed", "tasks": ["game.yaml"], "stages": stages}))
    (tmp_path / "seed").mkdir()
    (tmp_path / "seed" / "mine.txt").touch()
    result = handeye("pretrain", "seed.yaml")
    assert (result.returncode, "checkpoint folder 'seed' exists" in result.stderr) == (2, True)
    assert "no checkpoint folder with our marker" in handeye("pretrain", "seed.yaml", "--overwrite").stderr


def test_a_config_is_checked_again_with_what_was_measured(catch, monkeypatch):
    """Prompts are longer with state words, and recordings without a seed cannot tell them."""
    checked = []
    monkeypatch.setattr("agent.commands.checks.check_pretrain", lambda config: checked.append(config.tasks))
    monkeypatch.setattr("agent.optimise.pretrain.pretrain", lambda *_: checked.append("trained"))
    name = catch("sees: {ball: 'observation.0:2'}\n")
    Path("seed.yaml").write_text(json.dumps({"out": "seed", "tasks": [name], "stages": {"form": {}}}))
    Pretraining(Path("seed.yaml")).run()
    Pretraining(Path("seed.yaml")).run()
    assert checked == [(name,), (name,), "trained", (name,), "trained"]


@pytest.mark.slow
def test_pretraining_trains_the_expert_and_chooses_the_words(catch, handeye, tmp_path):
    catch("expert: {sb3: ppo, steps: 512, n_envs: 2, until: 5}\nframes: 1\n")
    sft = {"max_steps": 1, "per_device_train_batch_size": 2}
    config = {
        "out": "seed",
        "tasks": ["game.yaml"],
        "stages": {"form": {"demonstrations": {"game.yaml": 8}, "sft": sft}},
    }
    (tmp_path / "seed.yaml").write_text(json.dumps(config))
    result = handeye("pretrain", "seed.yaml")
    assert result.returncode == 0, result.stderr
    assert "ceiling of game.yaml: its expert" in result.stdout
    chosen = yaml.safe_load((tmp_path / "game.measured.yaml").read_text())
    assert chosen["repeat"] in (1, 2, 4)
    made = json.loads((tmp_path / "seed" / "pretrain.json").read_text())
    assert made["provenance"]["tasks"]["game.yaml"]["measured"]["content"] == chosen

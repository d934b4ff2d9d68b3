"""`handeye init`: what it writes loads, says what it does not know, and replaces nothing of others."""

from pathlib import Path

import gymnasium as gym
import pytest
import yaml

from agent import config
from agent.cli import COMMANDS
from agent.collect.starts import gate_seeds, heldout_seeds, practice_seeds
from agent.commands import init_files
from agent.commands.checks import check_pretrain
from agent.commands.init_configs import MARK
from agent.commands.init_files import MEASURED_MARK, name_of
from agent.commands.probing import probe
from agent.measure.ladder.playing import Effort
from agent.measure.ladder.rungs import Starts
from envs import registry
from envs.declared import measuring
from envs.errors import UserError
from envs.foreign import making
from envs.survey import play
from envs.survey.proposing import Proposal
from tests.envs.survey.strangers import HERE

INIT = COMMANDS["init"]


@pytest.fixture
def made(tmp_path, monkeypatch, capsys):
    """Writes the files for an id, into `mine` of an empty folder; the three paths, and what was printed."""
    monkeypatch.chdir(tmp_path)

    def make(env_id, **settings):
        INIT(env_id, Path("mine"), **settings).run()
        name = settings.get("name") or name_of(env_id)
        return [Path("mine") / f"{name}{end}.yaml" for end in ("", "_seed", "_loop")], capsys.readouterr().out

    return make


@pytest.mark.parametrize(
    ("env_id", "name"),
    [
        ("CartPole-v1", "cart_pole"),
        ("MountainCarContinuous-v0", "mountain_car_continuous"),
        ("FrozenLake8x8-v1", "frozen_lake8x8"),
        ("some_module:ALE/Pong-v5", "pong"),
        ("MiniGrid-Empty-5x5-v0", "mini_grid_empty_5x5"),
        ("Taxi", "taxi"),
    ],
)
def test_files_are_named_after_the_id(env_id, name):
    assert name_of(env_id) == name


def test_what_is_written_loads(made):
    (task, seed, loop), said = made("FrozenLake-v1")
    chosen = registry.task(str(task))
    probe(chosen)
    assert (chosen.env.id, chosen.env.success.of, chosen.env.frames) == ("FrozenLake-v1", "reward", 1)
    pretraining, run = config.load(seed, kind=config.Pretrain), config.load(loop)
    assert pretraining.tasks == run.tasks == run.evaluation.tasks == (str(task),)
    assert run.policy == pretraining.out
    assert [line.split()[:2] for line in said.splitlines()[-3:]] == [
        ["handeye", "try"],
        ["handeye", "pretrain"],
        ["handeye", "improve"],
    ]
    for path in (task, seed, loop):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        assert len(lines) <= 15
        assert all(len(line) <= 120 for line in path.read_text().splitlines()), path


def test_a_vector_becomes_state_words_with_measured_ranges(made):
    (task, seed, _), _ = made("CartPole-v1")
    chosen = registry.task(str(task))
    assert chosen.teacher.captions
    assert chosen.language.thought_regex.startswith("state ")
    assert task.with_name("cart_pole.sees.yaml").read_text().startswith(MEASURED_MARK)
    stages = config.load(seed, kind=config.Pretrain).stages
    assert [stage.scenes_of(str(task)) for stage in stages.values()] == [4000, 1000]
    assert stages["form"].demonstrations == {str(task): 100}


@pytest.mark.slow
def test_the_seed_config_passes_the_checks_of_pretrain(made):
    """The expert is still to be trained then: by `handeye pretrain`, after its checks."""
    (_, seed, _), _ = made("FrozenLake-v1")
    settings = config.load(seed, kind=config.Pretrain)
    check_pretrain(settings)
    assert list(settings.stages) == ["sight", "form"]


def test_a_mujoco_model_is_seen_by_its_parts(made):
    (task, *_), _ = made("Reacher-v5")
    assert yaml.safe_load(task.read_text())["sees"] == "auto"
    measured = yaml.safe_load(task.with_name("reacher.sees.yaml").read_text())
    assert {"fingertip", "target"} <= set(measured)
    assert registry.task(str(task)).env.frames == 2


def test_state_words_that_do_not_work_are_left_out_and_said(made, monkeypatch):
    absent = {"sees": Proposal({"ball": ["observation.7"]}, "", is_needed=False)}
    monkeypatch.setattr(init_files, "proposed", lambda found: absent)
    (task, seed, _), _ = made(f"{HERE}:HandEyeTest/Told-v0")
    assert "sees" not in yaml.safe_load(task.read_text())
    assert "# no sees: " in task.read_text()
    assert list(config.load(seed, kind=config.Pretrain).stages) == ["form"]


def test_what_is_not_observed_is_seen_by_its_attributes(made):
    (task, *_), _ = made(f"{HERE}:HandEyeTest/Idle-v0")
    assert yaml.safe_load(task.read_text())["sees"] == {"x": ["x"]}  # not the count of steps, `t`
    env = registry.task(str(task)).make()
    env.reset(seed=0)
    assert registry.task(str(task)).teacher.captions
    env.close()


def test_long_state_words_have_a_line_for_each_part():
    parts = {f"part_{i}": [f"observation.part_{i}.0:3"] for i in range(9)}
    lines = init_files._entry("sees", Proposal(parts, "rename them"))
    assert yaml.safe_load("\n".join(lines)) == {"sees": parts}
    assert len(lines) == 11


def test_arguments_of_the_environment(made):
    (task, *_), _ = made("FrozenLake-v1", kwargs="{is_slippery: false}")
    assert yaml.safe_load(task.read_text())["kwargs"] == {"is_slippery": False}
    with pytest.raises(UserError, match=r"--kwargs '\[1\]'; valid: a YAML mapping"):
        made("CartPole-v1", kwargs="[1]")


@pytest.mark.parametrize(("kwargs", "repeats"), [("{}", 4), ("{is_slippery: false}", 1)])
def test_answers_are_followed_by_several_futures_where_steps_are_random(made, kwargs, repeats):
    (_, _, loop, *_), _ = made("FrozenLake-v1", kwargs=kwargs)
    assert config.load(loop).branch.repeats == repeats


@pytest.mark.parametrize(("distinct", "seeds", "n"), [(1, 6, 1), (300, 800, 328), (96, 107, 479), (800, 800, 800)])
def test_how_many_starts_there_are_follows_from_those_met_again(distinct, seeds, n):
    """n starts, each as likely, of which so many seeds meet n (1 - (1 - 1/n)^seeds)."""
    assert Starts(distinct, seeds).estimated == n


def test_cart_pole_ends_by_failing(made):
    (task, *_), _ = made("CartPole-v1")
    values = yaml.safe_load(task.read_text())
    assert values["success"] == {"of": "return", "at_least": 475}
    assert values["frames"] == 2
    assert "max_steps" not in values
    assert "actions" not in values


def test_a_success_key_is_found_in_info(made):
    (task, *_), said = made(f"{HERE}:HandEyeTest/Told-v0")
    assert yaml.safe_load(task.read_text())["success"] == {"of": "goal_reached", "at_least": 1}
    assert said.startswith("success: {of: goal_reached, at_least: 1}")


def test_an_instruction_that_changes_is_where_it_is_told(made):
    (task, *_), said = made(f"{HERE}:HandEyeTest/Mission-v0")
    assert yaml.safe_load(task.read_text())["instruction"] == {"of": "observation.mission"}
    chosen, texts = registry.task(str(task)), set()
    env = chosen.make()
    for seed in range(8):
        env.reset(seed=seed)
        texts.add(chosen.observe(env).instruction)
    env.close()
    assert texts == {"go to 3 from 0", "go to 3 from 1"}
    assert "instruction" not in said


def test_actions_without_bounds_get_some(made):
    (task, *_), said = made(f"{HERE}:HandEyeTest/Unbounded-v0")
    assert yaml.safe_load(task.read_text())["bounds"] == [-1, 1]
    assert "bounds of actions are a guess" in said


def test_what_does_not_happen_again_is_not_exact(made):
    (task, *_), said = made(f"{HERE}:HandEyeTest/Chance-v0")
    assert yaml.safe_load(task.read_text())["exact"] is False
    assert "do not happen again" in said


def test_a_guess_says_so(made):
    (task, *_), said = made("Pendulum-v1")
    assert "# No sign of success was found in random play: the next line is a guess." in task.read_text()
    assert said.startswith("success is a guess, to be looked at: {of: return")


def test_a_time_limit_is_written_where_none_is_registered(made):
    (task, *_), said = made(f"{HERE}:HandEyeTest/Unlimited-v0")
    assert yaml.safe_load(task.read_text())["max_steps"] == registry.task(str(task)).horizon
    assert "no time limit is registered" in said


def test_the_environments_own_time_limit_is_taken(made):
    (task, *_), _ = made(f"{HERE}:HandEyeTest/Timed-v0")
    assert yaml.safe_load(task.read_text())["max_steps"] == 7


def test_the_episodes_of_the_loop_follow_from_the_starts(made, monkeypatch):
    """Taxi has 300 starts: a gate and a report of their usual size would leave none to practise on."""
    monkeypatch.setattr(init_files, "EFFORT", Effort(seconds=60))  # on a busy machine too, all seeds are looked at
    (_, _, loop), _ = made("Taxi-v4")
    run = config.load(loop)
    assert len(heldout_seeds(run, run.tasks[0])) == run.evaluation.episodes < 100
    assert len(gate_seeds(run, 2, run.tasks[0])) == run.gate.episodes < 50
    assert len(practice_seeds(run, 2, run.tasks[0])) >= 50


def test_one_start_is_said(made):
    _, said = made("CliffWalking-v1")
    assert "all seeds begin alike: nothing can be held out" in said


def test_what_exists_is_not_overwritten(made):
    (task, *others), _ = made("Taxi-v4")
    task.write_text(edited := task.read_text().replace("play taxi", "drive"))
    with pytest.raises(UserError, match=r"'mine/taxi.yaml' exists; valid: .* --overwrite"):
        made("Taxi-v4")
    assert task.read_text() == edited
    made("Taxi-v4", overwrite=True)
    assert "play taxi" in task.read_text()
    assert all(path.read_text().startswith(MARK) for path in (task, *others))


def test_a_file_of_others_is_never_overwritten(made):
    Path("mine").mkdir()
    Path("mine/taxi_loop.yaml").write_text("policy: mine\n")
    with pytest.raises(UserError, match=r"'mine/taxi_loop\.yaml' was not written by handeye init"):
        made("Taxi-v4", overwrite=True)
    assert [path.name for path in Path("mine").iterdir()] == ["taxi_loop.yaml"]
    assert Path("mine/taxi_loop.yaml").read_text() == "policy: mine\n"


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("CartPol-v1", "unknown environment 'CartPol-v1'"),
        (f"{HERE}:HandEyeTest/Flat-v0", "its pictures show nothing"),
        (f"{HERE}:HandEyeTest/Falls-v1", "HandEyeTest/Falls-v1"),
    ],
)
def test_nothing_is_written_for_what_cannot_be_played(made, env_id, message):
    with pytest.raises(UserError, match=message):
        made(env_id)
    assert not Path("mine").exists()


@pytest.mark.slow
def test_every_id_of_gymnasium_that_can_be_made_here_becomes_files_that_load(made, monkeypatch):
    """With little random play. Those that cannot be made need packages that this project does not."""
    monkeypatch.setattr(play, "SECONDS", 0.2)
    monkeypatch.setattr(play, "MOST_STEPS", 100)
    monkeypatch.setattr(measuring, "MOST_STEPS", 200)
    monkeypatch.setattr(init_files, "EFFORT", Effort(seconds=0.2))
    monkeypatch.setattr(init_files, "MEASURED", 1)
    written, absent, odd = [], [], {}
    for env_id in newest():
        try:
            making.made(env_id, "", env_id, {}).close()
        except UserError:
            absent.append(env_id)
            continue
        try:
            (task, *_), _ = made(env_id)
            assert registry.task(str(task)).env.id == env_id
            written.append(env_id)
        except UserError as error:
            odd[env_id] = str(error)
    print(f"{len(written)} written, {len(odd)} odd, absent: {', '.join(absent)}")
    assert odd == {}
    assert {env_id.partition("/")[0] for env_id in absent} <= {"phys2d", "tabular"}  # JAX is no dependency
    assert len(written) > 20


def newest():
    """Gymnasium's own ids, the newest version of each."""
    by_name = {}
    for spec in gym.registry.values():
        if str(spec.entry_point).startswith("gymnasium."):  # other tests of this process import other packages
            by_name[spec.namespace, spec.name] = max(spec.version or 0, by_name.get((spec.namespace, spec.name), 0))
    return sorted(gym.envs.registration.get_env_id(*key, version) for key, version in by_name.items())

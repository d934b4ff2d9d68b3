"""Before anything long starts: outputs can be written, tasks can be played. What cannot is one line, exit status 2."""

import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from agent.cli import main
from agent.commands import outputs
from agent.commands.guarding import guarded
from agent.commands.outputs import folder as folder_of
from agent.commands.probing import first_observation, probe, probe_apart
from envs.errors import UserError
from envs.registry import TASKS, task

ODD = """
import os, signal
import gymnasium as gym
import numpy as np

class Odd(gym.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}
    action_space, observation_space = gym.spaces.Discrete(2), gym.spaces.Box(0, 1, (1,), np.float32)

    def __init__(self, kind, render_mode=None):
        self.kind, self.render_mode = kind, render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.n, self.seed, self.start = 0, seed, self.np_random.random()
        if self.kind == "reset" or (self.kind == "reset_some" and seed == 0):
            raise RuntimeError("no scene\\nsecond line")
        if self.kind == "exit":
            raise SystemExit(3)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.n += 1
        if self.kind == "step":
            raise RuntimeError("the simulation diverged")
        if self.kind == "kill" and self.n == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.n == 10 and self.seed == 2_000_001:
            if self.kind == "late_exit":
                os._exit(0)
            raise RuntimeError("[/b] no [red] scene")
        return np.full(1, self.start + self.n, np.float32), 1.0, False, False, {}

    def render(self):
        if self.kind == "picture" and self.n == 1:
            raise ValueError("no picture")
        return np.full((32, 32, 3), 10 * self.n, np.uint8)

if "HandEyeOdd-v0" not in gym.registry:
    gym.register("HandEyeOdd-v0", Odd, max_episode_steps=4, disable_env_checker=True)
    gym.register("HandEyeLong-v0", Odd, max_episode_steps=12, disable_env_checker=True)
"""


@pytest.fixture
def odd(tmp_path, monkeypatch):
    """Makes a YAML file of a task of a kind, in the working folder."""
    (tmp_path / "odd_module.py").write_text(ODD)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "odd_module", raising=False)

    def make(kind):
        name = "HandEyeLong" if "late" in kind else "HandEyeOdd"
        text = f"id: odd_module:{name}-v0\nkwargs: {{kind: {kind}}}\ninstruction: do it\n"
        Path(f"{kind}.yaml").write_text(text + "success: {of: return, at_least: 4}\n")
        return f"{kind}.yaml"

    return make


@pytest.mark.parametrize("name", ["reach", "cartpole", "frozen-lake", "pendulum"])
def test_tasks_that_can_be_played(name):
    if name in TASKS:
        probe(TASKS[name])


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("reset", "raises in every episode; the first time: RuntimeError: no scene"),
        ("step", "the first time: RuntimeError: the simulation diverged"),
        ("picture", "the first time: ValueError: no picture"),
        ("exit", "the first time: SystemExit: 3"),
        ("kill", "ends its process with SIGKILL within its first"),
    ],
)
def test_a_task_that_cannot_be_played_is_named(odd, here, kind, words):
    with pytest.raises(UserError, match=f"task '{kind}.yaml'.*{words}"):
        probe_apart((odd(kind),))
    if kind != "kill":
        result = here("eval", odd(kind), "--policy", "zero", "--episodes", 1)
        assert result.returncode == 2
        assert result.stderr.count("\n") == 1
        assert words in result.stderr


def test_one_that_raises_now_and_then_is_played(odd):
    probe_apart((odd("reset_some"), odd("fine")))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "cause"),
    [("late_exit", "worker ended with status 0"), ("late_raise", "RuntimeError: [/b] no [red] scene")],
)
def test_one_that_ends_its_process_breaks_its_own_episode(odd, monkeypatch, capsys, kind, cause):
    asked = ["eval", odd(kind), "--policy", "random", "--episodes", "4", "--n-envs", "2"]
    monkeypatch.setattr(sys, "argv", ["handeye", *asked])
    main()
    said = capsys.readouterr().out
    assert f"1 broken, left out; the first: seed 2000001: {cause}\n" in said
    assert f"{kind}.yaml: 100 % [44, 100] of 3 episodes\n" in said


def test_what_is_observed_first_is_of_a_seed_that_begins(odd):
    assert first_observation(task(odd("reset_some"))).frames.shape == (1, 64, 64, 3)
    with pytest.raises(UserError, match=r"task 'reset.yaml'.* raises in every episode"):
        first_observation(task(odd("reset")))


def test_an_episode_that_takes_long_is_said(odd, monkeypatch):
    said = []
    probe(task(odd("fine")), said.append)
    monkeypatch.setattr("agent.commands.probing.LONG_S", 1e-9)
    probe(task(odd("fine")), said.append)
    (line,) = said
    assert line.startswith("task 'fine.yaml' is slow, about ")


@pytest.mark.parametrize(
    ("work", "status", "said"),
    [
        (lambda: os._exit(0), None, "the process ended with status 0, as it was played; valid"),
        (lambda: os._exit(3), None, "the process ended with status 3, as it was played; valid"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), None, "the process was killed by signal 9"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), None, "the process was killed by signal 11 (segmentation fa"),
        (lambda: sys.exit(3), 3, ""),
        (lambda: [][0], 1, "IndexError: list index out of range"),
        (lambda: probe(TASKS["nowhere"]), 1, "KeyError"),
        (lambda: folder_of("/dev/null"), 2, "handeye: error: '/dev/null' is a device"),
        (lambda: print("done"), 0, ""),
    ],
)
def test_work_in_a_fork_ends_as_it_would_here(work, status, said, capfd):
    with pytest.raises(UserError if status is None else SystemExit) if status != 0 else nullcontext() as ended:
        guarded("it was played", work)
    if status is None:
        assert said in str(ended.value)
    elif status:
        assert ended.value.code == status
        assert said in capfd.readouterr().err
    else:
        assert capfd.readouterr().out == "done\n"


def test_one_that_does_not_end_is_named(odd, monkeypatch):
    monkeypatch.setattr("agent.commands.probing.TIME_S", 0.01)
    with pytest.raises(UserError, match=r"2 steps of the tasks fine.yaml did not end within 0 s"):
        probe_apart((odd("fine"),))


@pytest.mark.parametrize("of", [outputs.folder, outputs.file])
def test_where_nothing_can_be_written(of, tmp_path, monkeypatch):
    (tmp_path / "text").write_text("mine")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    device = "is a device" if Path("/dev/null").is_char_device() else "written"
    for path, words in (
        (tmp_path / "text" / "below", "text', which is no folder|cannot be written: Not a directory"),
        (tmp_path / "loop", "cannot be written"),
        (tmp_path / ("x" * 300), "cannot be written: File name too long"),
        ("/dev/null", device),
        ("/proc/nowhere/out", "cannot be written"),
        (tmp_path / "a\0b", "cannot be written"),
    ):
        with pytest.raises(UserError, match=words):
            of(path)
    with pytest.raises(UserError, match=r"'.*out' needs about [\d]+ MB, \d+ MB are free; valid: more free space"):
        of(tmp_path / "out", 10**12)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loop", "text"]
    assert (tmp_path / "text").read_text() == "mine"


def test_a_read_only_place_is_named(tmp_path, monkeypatch):
    def refused(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(outputs.tempfile, "TemporaryFile", refused)
    with pytest.raises(UserError, match=r"'.*out' cannot be written: Permission denied; valid: another place"):
        outputs.folder(tmp_path / "out")


def test_a_file_is_no_folder_and_the_other_way_round(tmp_path):
    (tmp_path / "text").write_text("")
    with pytest.raises(UserError, match="is a file; valid: a folder"):
        outputs.folder(tmp_path / "text")
    with pytest.raises(UserError, match="is a folder; valid: a file"):
        outputs.file(tmp_path)


def test_home_and_links_are_followed(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert outputs.folder("~/out") == tmp_path / "out"
    (tmp_path / "link").symlink_to(tmp_path / "there")
    assert outputs.folder(tmp_path / "link") == tmp_path / "there"
    assert outputs.file("~/link") == tmp_path / "there"
    assert outputs.folder("relative/out") == Path("relative/out")
    with pytest.raises(UserError, match="cannot be written"):
        outputs.folder("~no_such_user/out")


@pytest.mark.parametrize(
    "arguments",
    [
        ("rollout", "cartpole", "text", "--policy", "zero"),
        ("watch", "cartpole", "below/film.png", "--policy", "zero"),
        ("audit", "seed", "--tasks", "reach", "--episodes", 1, "--json=below"),
        ("baseline", "cartpole", "--out", "text"),
        ("improve", "config.yaml", "--out", "text"),
        ("pretrain", "pretrain.yaml", "--out", "text"),
        ("compare", "compare.yaml"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_each_command_probes_its_output_first(here, tmp_path, arguments, monkeypatch):
    (tmp_path / "text").write_text("mine")
    (tmp_path / "below").mkdir() if arguments[0] == "audit" else (tmp_path / "below").write_text("mine")
    (tmp_path / "config.yaml").write_text("policy: seed\ntasks: [reach]\n")
    (tmp_path / "pretrain.yaml").write_text("out: x\ntasks: [reach]\nstages: {sight: {}}\n")
    (tmp_path / "compare.yaml").write_text("out: text\nbase: config.yaml\nseeds: [0]\narms: {a: {}}\n")
    monkeypatch.setattr("agent.collect.play.play", lambda *_: pytest.fail("played"), raising=False)
    result = here(*arguments)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "is a f" in result.stderr or "is no folder" in result.stderr
    assert (tmp_path / "text").read_text() == "mine"

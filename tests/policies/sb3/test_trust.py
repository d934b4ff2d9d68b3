"""A .zip of Stable-Baselines3 runs no code before it is trusted: those that ship by their hash, others by --trust."""

import base64
import hashlib
import json
import pickle
import zipfile
from pathlib import Path

import pytest

from envs.errors import UserError
from envs.registry import TASKS
from policies.baselines import SHIPPED
from policies.experts import trust
from policies.sb3 import load


class _Trap:
    """Unpickled, it makes a file."""

    def __init__(self, place):
        self.place = str(place)

    def __reduce__(self):
        return Path.touch, (Path(self.place),)


@pytest.fixture
def trap(tmp_path):
    """A .zip that looks like PPO's on the outside, and makes the file `sprung` when it is loaded: both paths."""
    sprung, path = tmp_path / "sprung", tmp_path / "policy.zip"
    data = {
        "policy_class": {"__module__": "stable_baselines3.common.policies"},
        "clip_range": 0.2,
        "observation_space": {":type:": "x", ":serialized:": base64.b64encode(pickle.dumps(_Trap(sprung))).decode()},
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps(data))
    return path, sprung


def test_those_that_ship_are_listed():
    sums = dict(line.split()[::-1] for line in trust.SUMS.read_text().splitlines())
    assert sums == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in SHIPPED.values()}


def test_one_that_ships_loads_wherever_it_lies(tmp_path):
    copied = tmp_path / "mine.zip"
    copied.write_bytes(SHIPPED["hopper"].read_bytes())
    load(copied, TASKS["hopper"])


def test_a_changed_one_of_those_that_ship_does_not(tmp_path):
    content = bytearray(SHIPPED["hopper"].read_bytes())
    with zipfile.ZipFile(SHIPPED["hopper"]) as archive:
        start = archive.getinfo("policy.pth").header_offset + 200
    content[start] ^= 1
    (tmp_path / "hopper.zip").write_bytes(content)
    with pytest.raises(UserError, match="none that ships"):
        load(tmp_path / "hopper.zip", TASKS["hopper"])


@pytest.mark.parametrize(
    "arguments",
    [
        ("eval", "cartpole", "--policy", "policy.zip", "--episodes", 1),
        ("rollout", "cartpole", "episodes", "--policy", "policy.zip", "--episodes", 1),
        ("watch", "cartpole", "film.png", "--policy", "policy.zip"),
        ("watch", "cartpole", "film.png", "--policy", "zero", "--against", "policy.zip"),
        ("pretrain", "pretrain.yaml"),
    ],
    ids=lambda arguments: " ".join(map(str, arguments)),
)
def test_a_strangers_runs_no_code(here, trap, arguments, tmp_path):
    path, sprung = trap
    config = {"out": "out", "tasks": ["cartpole"], "experts": {"cartpole": "policy.zip"}, "stages": {"sight": {}}}
    (tmp_path / "pretrain.yaml").write_text(json.dumps(config))
    result = here(*arguments)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for part in ("'policy.zip' can run code", digest, "valid: --trust"):
        assert part in result.stderr
    assert not sprung.exists()
    assert here(*arguments, "--trust").returncode == 2  # it is no policy
    assert sprung.exists()


SERIALISED = (
    *("policy_class", "observation_space", "action_space", "clip_range", "lr_schedule", "policy_kwargs"),
    *("rollout_buffer_class", "rollout_buffer_kwargs", "_last_obs", "ep_info_buffer", "anything"),
)


@pytest.mark.parametrize("place", [*SERIALISED, "policy.pth", "pytorch_variables.pth", "policy.optimizer.pth"])
def test_wherever_a_pickle_lies_it_is_not_run(trap, tmp_path, place):
    path, sprung = tmp_path / "other.zip", trap[1]
    with zipfile.ZipFile(trap[0]) as archive:
        data = json.loads(archive.read("data"))
    pickled = pickle.dumps(_Trap(sprung))
    data["observation_space"] = {":type:": "x", ":serialized:": base64.b64encode(pickle.dumps(7)).decode()}
    if place in SERIALISED:
        data[place] = {":type:": "x", ":serialized:": base64.b64encode(pickled).decode()}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps(data))
        archive.writestr("policy.pth" if place in SERIALISED else place, b"" if place in SERIALISED else pickled)
    with pytest.raises(
        UserError, match=r"can run code when it is loaded, and is none|holds no policy of Stable-Baselines3"
    ):
        load(path, TASKS["cartpole"])
    assert not sprung.exists()


def test_trust_is_of_a_content_not_of_a_name(trap):
    path, sprung = trap
    content = path.read_bytes()
    path.write_bytes(b"")
    trust.vouch(path)
    path.write_bytes(content)
    with pytest.raises(UserError, match="valid: --trust"):
        load(path, TASKS["cartpole"])
    assert not sprung.exists()

"""Fewer environments play where memory is short, and the episodes are the same."""

import pytest

from agent.collect import room
from agent.collect.rollout import rollout
from envs.registry import TASKS
from policies.action_codec import codec_for
from policies.baselines import RandomPolicy

CARTPOLE = TASKS["cartpole"].with_env(image_size=8)
MB = 10**6


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Writes what a machine says of its memory [MB], and of a container's."""

    def say(whole, free, limit=None, used=0, files=0):
        (tmp_path / "meminfo").write_text(f"MemTotal: {whole * MB // 1024} kB\nMemAvailable: {free * MB // 1024} kB\n")
        (tmp_path / "memory.max").write_text("max\n" if limit is None else f"{limit * MB}\n")
        (tmp_path / "memory.current").write_text(f"{used * MB}\n")
        (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {files * MB}\n")
        monkeypatch.setattr(room, "MEMINFO", tmp_path / "meminfo")
        monkeypatch.setattr(room, "CGROUP", tmp_path)

    return say


def count(monkeypatch, sizes):
    """Environments made of 8 that are asked for, where each takes the next of these sizes [MB]."""
    grown = iter(sizes)
    held = [0]

    def resident():
        held[0] += next(grown) * MB if resident.after else 0
        resident.after = not resident.after
        return held[0]

    resident.after = False
    monkeypatch.setattr(room, "resident", resident)
    envs = room.environments(CARTPOLE, 8)
    for env in envs:
        env.close()
    return len(envs)


def test_there_is_room_for_all_on_an_empty_machine(machine, monkeypatch):
    machine(whole=16_000, free=12_000)
    assert count(monkeypatch, [300] * 8) == 8


@pytest.mark.parametrize(
    ("free", "sizes", "made"),
    [
        (2_650, [300] * 8, 2),  # 15 % of 16,000 stay free: 250 are left, and the second was made to learn its size
        (2_800, [300] * 8, 8),  # the machine says that 400 are left, each time
        (2_300, [300] * 8, 1),
    ],
)
def test_what_is_spared_decides(machine, monkeypatch, free, sizes, made):
    machine(whole=16_000, free=free)
    assert count(monkeypatch, sizes) == made


def test_a_container_has_less_than_its_machine(machine):
    machine(whole=16_000, free=12_000, limit=4_000, used=3_000, files=1_000)
    assert room.room() == pytest.approx((2_000 - 0.15 * 4_000) * MB)
    machine(whole=16_000, free=12_000)
    assert room.room() == pytest.approx((12_000 - 0.15 * 16_000) * MB, rel=1e-3)


def test_a_platform_that_does_not_tell_has_room(monkeypatch, tmp_path):
    monkeypatch.setattr(room, "MEMINFO", tmp_path / "none")
    assert room.room() == float("inf")


def test_the_episodes_are_the_same(machine):
    starts = [(seed, 0) for seed in range(4)]

    def played():
        episodes = rollout(CARTPOLE, RandomPolicy(codec_for(CARTPOLE).action.space), starts)
        return [[step.fingerprint for step in episode.steps] for episode in episodes]

    machine(whole=16_000, free=12_000)
    many = played()
    machine(whole=16_000, free=100)
    assert played() == many

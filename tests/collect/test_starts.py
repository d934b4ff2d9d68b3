"""Episodes that count as evidence, or as practice, begin at starts that differ."""

import json
import re
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from agent.collect.starts import branch_seeds, gate_seeds, heldout_seeds, practice_seeds, pretraining_seeds
from agent.config import load
from agent.record.final import record_final
from envs.declared import declared
from envs.errors import UserError
from envs.registry import TASKS
from envs.splits import SPLITS, seeds
from envs.starts import distinct, is_among, keys, reserved, start_key
from policies.sb3 import Practice

ROOT = Path(__file__).parents[2]
# Tasks whose seeds all begin differently: their seeds are consecutive, as if starts were not told apart.
CONTINUOUS = ("reach", "push-heldout", "cartpole", "hopper", "lunar-lander", "fetch-reach", "mw-button-press-topdown")


def installed(name):
    return pytest.param(name, marks=pytest.mark.skipif(not TASKS[name].is_installed(), reason="needs its extra"))


@pytest.fixture
def config(tmp_path):
    """A run's config, with some sections changed."""
    path = tmp_path / "config.yaml"

    def make(tasks, evaluated, starts=10, gate=10, episodes=10, branched=5, rounds=2):
        path.write_text(
            f"policy: seed\ntasks: [{tasks}]\nrounds: {rounds}\ncollect: {{starts: {starts}}}\n"
            f"branch: {{starts: {branched}}}\ngate: {{episodes: {gate}}}\n"
            f"evaluation: {{tasks: [{evaluated}], episodes: {episodes}}}\n"
        )
        return load(path)

    return make


# which seeds are the same start ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "n"), [("frozen-lake", 132), ("frozen-lake-heldout", 117), ("taxi", 144), ("cliff-walking", 1)]
)
def test_starts_are_counted(name, n):
    assert len(keys(TASKS[name], seeds("heldout", 200))) == n


def test_lakes_are_the_same_start_where_their_maps_are():
    task = TASKS["frozen-lake"]
    env, maps = task.make(), {}
    for seed in seeds("heldout", 60):
        env.reset(seed=seed)
        maps.setdefault(env.unwrapped.desc.tobytes(), set()).update(keys(task, [seed]))
    env.close()
    assert [len(same) for same in maps.values()] == [1] * len(maps)
    assert len(frozenset().union(*maps.values())) == len(maps) < 60


@pytest.mark.parametrize("name", map(installed, CONTINUOUS))
def test_where_no_start_repeats_the_seeds_are_consecutive(name):
    assert distinct(TASKS[name], "heldout", 8) == list(seeds("heldout", 8))
    assert distinct(TASKS[name], "gate", 3, first=60) == list(seeds("gate", 3, 60))


@pytest.mark.parametrize("name", ["reach", "hopper", "lunar-lander"])
def test_where_no_start_repeats_pretraining_skips_none(name):
    assert pretraining_seeds(TASKS[name], 3, 600_000) == list(seeds("practice", 3, 600_000))


@pytest.mark.parametrize("name", ["reach", "frozen-lake", "taxi", "hopper"])
def test_a_key_does_not_depend_on_what_was_played_before(name):
    task, seed = TASKS[name].with_env(frames=1), 2_000_003
    fresh, used = task.make(), task.make()
    used.reset(seed=7)
    used.step(used.action_space.sample())
    for env in (fresh, used):
        env.reset(seed=seed)
    assert start_key(task, fresh) == start_key(task, used)
    used.reset(seed=seed + 1)
    assert start_key(task, fresh) != start_key(task, used)
    fresh.close(), used.close()


@pytest.fixture
def lake(tmp_path):
    """Declares Gymnasium's own lake, which is always the same map."""

    def make(slippery):
        path = tmp_path / f"lake_{slippery}.yaml"
        path.write_text(
            f"id: FrozenLake-v1\ninstruction: walk\nsuccess: {{of: reward, at_least: 1}}\n"
            f"kwargs: {{is_slippery: {str(slippery).lower()}}}\n"
        )
        return declared(str(path))

    return make


def test_chance_in_the_steps_makes_every_seed_a_start(lake):
    """The lake draws random numbers in either case; they have an effect only where it is slippery."""
    assert distinct(lake(True), "heldout", 50) == list(seeds("heldout", 50))
    assert len(keys(lake(False), seeds("heldout", 50))) == 1
    assert len(keys(lake(False), [5, 2_000_001])) == 1  # also after seeds of the slippery one, on the same map


def test_the_same_map_is_another_start_where_one_lake_is_slippery(lake):
    assert not keys(lake(True), range(3)) & keys(lake(False), range(3))


class Deck(gym.Env):
    """A reset draws one of `cards`; that is seen, and nothing else differs."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012 (gymnasium's own form)
    instruction = "name the card"

    def __init__(self, cards=3, raises=(), render_mode=None):
        self.cards, self.raises, self.render_mode = cards, raises, render_mode
        self.observation_space = self.action_space = gym.spaces.Discrete(cards)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed in self.raises:
            raise RuntimeError("no card")
        self.card = int(self.np_random.integers(self.cards))
        return self.card, {}

    def step(self, action):
        return self.card, 0.0, True, False, {"success": action == self.card}


gym.register("HandEyeTest/Deck-v0", entry_point=Deck, disable_env_checker=True)


@pytest.fixture
def deck(toy_task, monkeypatch):
    def make(cards, name="deck", **kwargs):
        task = toy_task()
        spec = replace(task.env, id="HandEyeTest/Deck-v0", kwargs={"cards": cards, **kwargs})
        monkeypatch.setitem(TASKS, name, replace(task, name=name, env=spec))
        return TASKS[name]

    return make


def test_too_few_starts_are_counted_in_one_line(deck):
    with pytest.raises(
        UserError, match=r"^4 episodes of heldout of 'deck': found 3 distinct .* the first \d+ seeds; va"
    ):
        distinct(deck(3), "heldout", 4)
    assert len(distinct(deck(3), "heldout", 3)) == 3
    with pytest.raises(UserError, match="asked for 2 from 999999"):
        distinct(deck(3), "gate", 2, first=999_999)


def test_a_reset_that_raises_is_a_start_of_its_own(deck):
    """The rollout records that episode as broken."""
    task = deck(3, raises=(2_000_000, 2_000_001))
    assert distinct(task, "heldout", 5)[:2] == [2_000_000, 2_000_001]


# a run's starts --------------------------------------------------------------------------------------------------
def test_the_seeds_of_a_run_are_consecutive_where_no_start_repeats(config):
    run = config("reach", "reach, reach-heldout")
    assert practice_seeds(run, 2, "reach") == list(range(10, 20))
    assert branch_seeds(run, 2, "reach") == list(range(9_990, 9_995))
    assert gate_seeds(run, 2, "reach") == list(range(1_000_010, 1_000_020))
    assert heldout_seeds(run, "reach-heldout") == list(range(2_000_000, 2_000_010))


def test_practice_meets_no_start_of_the_gate_the_report_or_the_final_split(config):
    run = config("taxi", "taxi", starts=40, gate=40, episodes=60)
    task = TASKS["taxi"]
    report = keys(task, heldout_seeds(run, "taxi"))
    gates = [keys(task, gate_seeds(run, number, "taxi")) for number in (1, 2)]
    assert (len(report), *map(len, gates)) == (60, 40, 40)
    assert not report & (gates[0] | gates[1])
    final = keys(task, distinct(task, "final", 100))
    taken = []
    for number in (1, 2):
        for some in practice_seeds(run, number, "taxi"), branch_seeds(run, number, "taxi"):
            assert len(keys(task, some)) == len(some) > 0
            assert not keys(task, some) & (report | gates[0] | gates[1] | final)
            assert set(some) <= set(range(10_000))
            taken += some
    assert len(set(taken)) == len(taken)  # no seed twice, in whatever round


def test_a_held_out_task_with_the_same_environment_counts(config, deck):
    deck(40, "deck"), deck(40, "deck-heldout")
    run = config("deck", "deck-heldout", starts=40, gate=5, episodes=12, rounds=1)
    report = keys(TASKS["deck-heldout"], heldout_seeds(run, "deck-heldout"))
    assert len(report) == 12
    assert not report & keys(TASKS["deck"], gate_seeds(run, 1, "deck"))


def test_fewer_starts_than_asked_for_are_practised_but_not_measured(config, deck, monkeypatch):
    monkeypatch.setattr("envs.starts.RESERVED", {"gate": 5, "heldout": 5, "final": 5})
    deck(40)
    run = config("deck", "deck", starts=40, gate=5, episodes=12, rounds=1)
    assert 40 - 12 - 5 - 5 <= len(practice_seeds(run, 1, "deck")) <= 40 - 12 - 5
    with pytest.raises(UserError, match=r"29 episodes of gate of 'deck': found 28 distinct"):
        gate_seeds(config("deck", "deck", gate=29, episodes=12), 1, "deck")
    with pytest.raises(
        UserError, match="practice seeds of task 'deck' have only starts of the gate, the report or the f"
    ):
        practice_seeds(config("deck", "deck", gate=28, episodes=12), 1, "deck")


# training outside of a run ---------------------------------------------------------------------------------------
def test_pretraining_skips_reserved_starts():
    task = TASKS["taxi"]
    some = pretraining_seeds(task, 50, 600_000)
    assert some[0] >= 600_000
    assert len(set(some)) == 50
    assert not keys(task, some) & reserved(task)
    assert len(reserved(task)) > 200


def test_a_task_of_one_start_cannot_be_pretrained():
    with pytest.raises(UserError, match=r"1 practice seeds of task 'cliff-walking' from 0: 0 of \d+ have a start"):
        pretraining_seeds(TASKS["cliff-walking"], 1, 0)


def test_baselines_skip_reserved_starts(deck):
    task, env = deck(12), deck(12).make()
    held = keys(task, distinct(task, "heldout", 6))
    practice, met = Practice(env, (0, 0), lambda seed: is_among(task, env, seed, held)), set()
    for _ in range(200):
        practice.reset()
        met.add(start_key(task, env))
    assert len(met) == 6
    assert not met & held
    with pytest.raises(UserError, match="each of 2000 practice seeds has a start that is held out"):
        Practice(env, (0, 0), lambda seed: True).reset()


# the final split -------------------------------------------------------------------------------------------------
def test_nothing_is_evaluated_on_the_final_split_but_by_hand():
    """No config, experiment or document's command names it, and no default."""
    texts = [*(ROOT / "configs").rglob("*.yaml"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "Makefile"]
    for path in texts:
        text = path.read_text()
        assert not re.search(r"split[:= ]+\W?final", text), path
        assert not any(int(n) in SPLITS["final"] for n in re.findall(r"(?<![\d.,])3\d{6}(?![\d.])", text)), path
    for path in (ROOT / "agent").rglob("*.py"):
        assert not re.search(r"split(: str)? ?= ?\"final\"(?!:)", path.read_text().replace("==", "is")), path


def test_the_final_split_is_recorded_beside_the_policy(tmp_path, monkeypatch):
    folder, elsewhere = tmp_path / "policy", tmp_path / "elsewhere"
    folder.mkdir(), elsewhere.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    monkeypatch.chdir(elsewhere)
    said = record_final(str(folder), "reach", {"k": 3, "n": 4})
    assert str(folder / "final.jsonl") in said
    assert "the final split" in said
    record_final(str(folder), "push", {"k": 1, "n": 4})
    record_final("expert", "reach", {"k": 4, "n": 4})
    lines = [json.loads(line) for line in (folder / "final.jsonl").read_text().splitlines()]
    assert [(line["task"], line["k"], line["n"]) for line in lines] == [("reach", 3, 4), ("push", 1, 4)]
    assert len(lines[0]["weights_sha256"]) == 64
    (line,) = map(json.loads, (elsewhere / "final.jsonl").read_text().splitlines())
    assert (line["policy"], line["weights_sha256"]) == ("expert", None)


def test_distinct_starts_take_a_reset_each(deck, monkeypatch):
    resets = []
    reset = Deck.reset
    monkeypatch.setattr(Deck, "reset", lambda self, **kwargs: resets.append(kwargs["seed"]) or reset(self, **kwargs))
    task = deck(1_000_000, "large deck")
    for _ in range(2):
        distinct(task, "heldout", 100)
    assert np.unique(resets).tolist() == sorted(resets) == list(seeds("heldout", 100))

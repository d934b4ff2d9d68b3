"""Episodes that were exported are demonstrations: replayed from their seeds, with equal actions and frames."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from recordings import lerobot

from agent.collect.rollout import rollout
from agent.optimise.recorded import check_recorded, recorded_examples
from agent.organise.store import EpisodeStore
from envs import registry
from envs.errors import UserError
from policies.base import Decision


class Catcher:
    """Follows the ball."""

    def act_on(self, envs):
        return [Decision("", np.int64(1 + np.sign(e.unwrapped.ball - e.unwrapped.paddle))) for e in envs]


@pytest.fixture
def exported(catch, typed, tmp_path):
    """Exports two episodes of Catch, played by a task with more lines, into the folder `set`."""

    def make(more="", *options):
        episodes = rollout(registry.task(catch(more, "played.yaml")), Catcher(), [(3, 0), (4, 0)])
        EpisodeStore(tmp_path / "episodes").append(episodes)
        done = typed("export", tmp_path / "episodes", "set", *options)
        assert done.returncode == 0, done.stderr
        return episodes

    return make


def test_a_round_trip_gives_equal_actions_and_frames(exported, catch):
    episodes = exported()
    task = registry.task(catch("expert: {demonstrations: 'lerobot:set'}\n"))
    check_recorded(task)
    rows = list(recorded_examples(task, 10))
    steps = [step for episode in episodes if episode.success for step in episode.steps]
    assert [row.answer for row in rows] == [f"move {step.decision.action}" for step in steps]
    assert all((row.frames == step.observation.frames).all() for row, step in zip(rows, steps, strict=True))
    assert len(rows) >= 18


def test_with_an_action_repeat_a_decision_is_a_row(exported, catch):
    episodes = exported("repeat: 2\n")
    assert len(episodes[0].steps) == 9
    task = registry.task(catch("repeat: 2\nexpert: {demonstrations: 'lerobot:set'}\n"))
    check_recorded(task)
    assert len(list(recorded_examples(task, 10))) == sum(len(e.steps) for e in episodes if e.success)
    faster = registry.task(catch("repeat: 3\nexpert: {demonstrations: 'lerobot:set'}\n", "faster.yaml"))
    with pytest.raises(UserError, match=r"repeat = 3; valid: repeat: 1, or 5 decisions a second, where it has 7\.5"):
        check_recorded(faster)


def test_without_seeds_actions_a_second_must_be_the_tasks(exported, catch, tmp_path):
    exported("", "--fps", "30")
    task = registry.task(catch("expert: {demonstrations: 'lerobot:set'}\n"))
    check_recorded(task)  # a replay shows what a seed is worth
    _without_seeds(tmp_path / "set")
    with pytest.raises(UserError, match="records no seed to replay it from, and 30 actions a second, where task"):
        check_recorded(task)


def test_without_seeds_actions_must_be_in_their_range(dock, tmp_path):
    folder = lerobot(tmp_path / "set", (3,))  # actions of Catch: 0, 1 or 2
    task = registry.task(dock("thinks: false\nexpert: {demonstrations: 'lerobot:set'}\n"))
    path = folder / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    actions = pa.array([[0.0, 1.5]] * len(table))
    pq.write_table(table.set_column(table.column_names.index("action"), "action", actions), path)
    with pytest.raises(UserError, match=r"has an action with 1.5 in place 1; valid for 'game.yaml': -1 to 1"):
        check_recorded(task)


def _without_seeds(folder):
    """As LeRobot itself would have recorded it."""
    for path in [*folder.rglob("data/**/*.parquet"), *folder.rglob("meta/episodes/**/*.parquet")]:
        pq.write_table(pq.read_table(path).drop_columns("seed"), path)
    info = json.loads((folder / "meta/info.json").read_text())
    del info["features"]["seed"]
    (folder / "meta/info.json").write_text(json.dumps(info))


def test_minari_round_trip(exported, catch, typed, tmp_path):
    pytest.importorskip("minari")
    episodes = exported()
    assert typed("export", tmp_path / "episodes", "catch-v0", "--format", "minari").returncode == 0
    task = registry.task(catch("expert: {demonstrations: 'minari:catch-v0'}\n"))
    rows = list(recorded_examples(task, 10))
    steps = [step for episode in episodes if episode.success for step in episode.steps]
    assert [row.answer for row in rows] == [f"move {step.decision.action}" for step in steps]
    assert all((row.frames == step.observation.frames).all() for row, step in zip(rows, steps, strict=True))

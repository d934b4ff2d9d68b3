"""A stored episode has a certificate only if its replay is equal bit for bit; every change to it is found and named."""

import copy
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agent import cli
from agent.collect.rollout import rollout
from agent.collect.verify import Verifier
from agent.organise import part as parts
from agent.organise.records import DIGEST, SCHEMA
from agent.organise.selection import by_start
from agent.organise.store import EpisodeStore
from envs.observation import PackedFrame
from envs.registry import TASKS
from policies.action_codec import codec_for
from policies.baselines import ExpertPolicy, RandomPolicy


@pytest.fixture(scope="module")
def played():
    """Two successes and two failures."""
    task = TASKS["push"]
    codec = codec_for(task)
    good = rollout(task, ExpertPolicy(task, codec), [(1, 0), (2, 0)])
    return good + rollout(task, RandomPolicy(codec.action.space), [(1, 1), (3, 0)])


@pytest.fixture(scope="module")
def verifier():
    with Verifier() as verifier:
        yield verifier


@pytest.fixture
def part(played, tmp_path):
    """The Parquet file of the store that holds `played`."""
    store = EpisodeStore(tmp_path / "round_001" / "episodes")
    store.append(played)
    return store.parts()[0]


def flaws(verifier, part):
    return [verifier.flaw(episode) for episode in EpisodeStore(part.parent)]


def flipped(value):
    """The value with one byte changed."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value ^ 1
    if isinstance(value, float):
        return float(np.frombuffer((np.array(value).view(np.int64) ^ 1).tobytes(), np.float64)[0])
    if isinstance(value, bytes):
        return value[:-1] + bytes([value[-1] ^ 1])
    if isinstance(value, str):
        return value[:-1] + chr(ord(value[-1]) ^ 1)
    return [np.nextafter(np.float32(v), np.float32(9)) if isinstance(v, float) else flipped(v) for v in value]


def test_stored_episodes_are_certified(verifier, part):
    assert flaws(verifier, part) == ["", "", "", ""]


@pytest.mark.parametrize("row", [2, "last"])
@pytest.mark.parametrize("column", [*SCHEMA.names, DIGEST.name])
def test_a_flipped_byte_is_found(verifier, part, played, column, row):
    table = pq.read_table(part)
    rows = table.to_pylist()
    row = len(played[0].steps) if row == "last" else row
    if not rows[row][column] and rows[row][column] not in (0, False):
        rows[row][column] = {"verdict": 0.5, "answer": "move +0 +0", "error": "e", "key": b"key"}.get(
            column, rows[0][column]
        )
        if rows[row][column] is None:
            pytest.skip("holds nothing there")
    rows[row][column] = flipped(rows[row][column])
    parts.write(part, pa.Table.from_pylist(rows, table.schema))  # with a checksum of its own: a forger's
    found = flaws(verifier, part)
    assert found[0]
    assert found[-2:] == ["", ""]  # and no more than what was touched, or what follows it


def test_a_cut_off_file_loses_only_its_last_episode(verifier, part):
    table = pq.read_table(part)
    parts.write(part, table.slice(0, len(table) - 2))
    *whole, cut = flaws(verifier, part)
    assert whole == ["", "", ""]
    assert "not all" in cut


def changed(episode, **of_second_step):
    """The episode with some fields of its second step changed."""
    result = copy.deepcopy(episode)
    result.steps[1] = replace(result.steps[1], **of_second_step)
    return result


FORGERIES = {
    "another action": lambda e: changed(e, decision=replace(e.steps[1].decision, action=-e.steps[1].decision.action)),
    "another answer": lambda e: changed(e, decision=replace(e.steps[1].decision, answer=e.steps[0].decision.answer)),
    "another reward": lambda e: changed(e, reward=e.steps[1].reward + 1e-9),
    "another state": lambda e: changed(e, fingerprint=e.steps[0].fingerprint),
    "other frames": lambda e: changed(e, observation=e.steps[0].observation),
    "another start": lambda e: replace(e, seed=e.seed + 1),
    "another task": lambda e: replace(e, task="push-heldout"),
    "no such task": lambda e: replace(e, task="lift"),
    "a failure called success": lambda e: replace(e, success=not e.success),
    "another ending": lambda e: replace(e, ending="truncated" if e.ending == "terminated" else "terminated"),
    "a missing step": lambda e: replace(e, steps=e.steps[:-1]),
    "a step too many": lambda e: replace(e, steps=[*e.steps, e.steps[-1]]),
    "another last frame": lambda e: replace(e, final=PackedFrame.of(e.final_frame ^ 1)),
    "another last state": lambda e: replace(e, final_fingerprint=e.steps[0].fingerprint),
    "other words at the end": lambda e: replace(e, final_proprioception="gripper 1 1"),
}


@pytest.mark.parametrize("name", FORGERIES)
@pytest.mark.parametrize("i", [0, 3])
def test_a_forgery_does_not_happen_again(verifier, played, name, i, tmp_path):
    if name == "another answer" and i == 3:
        pytest.skip("a random policy gives no answers")
    store = EpisodeStore(tmp_path)
    store.append([FORGERIES[name](played[i])])
    (episode,) = store
    assert verifier.flaw(episode)


def test_another_version_is_named(verifier, played):
    foreign = replace(played[0], versions=played[0].versions | {"mujoco": "2.0"})
    assert "mujoco 2.0" in verifier.flaw(foreign)


def test_an_episode_without_certificate_is_not_learned_from(verifier, played):
    forged = FORGERIES["another reward"](played[0])
    verifier.on_episode(forged)
    assert forged.ending == "broken"
    assert "step 1" in forged.error
    assert by_start([forged]) == {}


def test_an_error_in_one_replay_does_not_spoil_the_next(verifier, played):
    bad = changed(played[0], decision=replace(played[0].steps[1].decision, answer="", action=np.full(2, np.nan)))
    assert "ValueError" in verifier.flaw(bad)
    assert verifier.flaw(played[0]) == ""


# the command -----------------------------------------------------------------------------------------------------
def replay(monkeypatch, folder):
    monkeypatch.setattr("sys.argv", ["handeye", "replay", str(folder)])
    cli.main()


def test_replay_certifies_a_run(monkeypatch, part, capsys):
    replay(monkeypatch, part.parents[2])
    assert "4 episodes certified, 0 left out" in capsys.readouterr().out


def test_replay_names_what_it_leaves_out(monkeypatch, part, played, capsys):
    store = EpisodeStore(part.parent)
    store.append([FORGERIES["another reward"](played[0])])
    (part.parent / "part-00002.parquet").write_bytes(part.read_bytes()[:-100])
    with pytest.raises(SystemExit) as exit:
        replay(monkeypatch, part.parents[2])
    assert exit.value.code == 1
    out = capsys.readouterr().out
    assert "4 episodes certified, 2 left out" in out
    assert "part-00001.parquet: push, seed 1, attempt 0: step 1: reward" in out
    assert "part-00002.parquet' cannot be read" in out


def test_replay_of_nothing_is_a_mistake(monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit:
        replay(monkeypatch, tmp_path / "none")
    assert exit.value.code == 2
    assert "no episodes" in capsys.readouterr().err

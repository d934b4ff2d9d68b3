"""Files that were added to a run's folder: left alone, or set aside where they could be read as a stage's outputs."""

import pytest

from agent.record.run.journal import Done, hashes
from agent.record.run.resume import mend
from agent.record.run.underway import UnderWay
from agent.record.rundir import RunDir

OUTPUT = "round_001/episodes"


@pytest.fixture
def run(tmp_path):
    run = RunDir(tmp_path / "run")
    run.begin({}, {}, {})
    folder = run.path / OUTPUT
    folder.mkdir(parents=True)
    (folder / "part-00000.parquet").write_bytes(b"ours")
    run.journal.add(Done(1, "practise", {}, outputs={OUTPUT: hashes(folder)}))
    yield run
    run.close()


@pytest.mark.parametrize(
    "name", [".DS_Store", "part-00000 (1).parquet", "._part-00000.parquet", "Thumbs.db", "notes.md"]
)
def test_what_cannot_be_read_as_ours_is_named_and_left_alone(run, name):
    path = run.path / OUTPUT / name
    path.write_bytes(b"theirs")
    for _ in range(2):
        assert mend(run) == [f"{str(path)!r} is none of ours: left alone"]
    assert path.read_bytes() == b"theirs"
    assert run.journal.again == []
    assert not run.quarantine.exists()


@pytest.mark.parametrize("name", ["part-00001.parquet", "adapter_config.json", "model-00002.safetensors"])
def test_what_could_be_read_as_ours_is_set_aside(run, name):
    path = run.path / OUTPUT / name
    path.write_bytes(b"theirs")
    (line,) = mend(run)
    assert line.startswith(f"{str(path)!r} was added: set aside as ")
    assert not path.exists()
    assert [aside.read_bytes() for aside in run.quarantine.iterdir()] == [b"theirs"]
    assert mend(run) == []


def test_what_comes_while_a_stage_is_under_way_is_no_output_of_it(run):
    under_way = UnderWay(run.path, 2, "practise")
    folder = under_way.output(run.path / "round_002" / "episodes")
    for name in ("part-00000.parquet", ".DS_Store"):
        (folder / name).write_bytes(b"")
    assert [*under_way.written()["round_002/episodes"]] == ["part-00000.parquet"]

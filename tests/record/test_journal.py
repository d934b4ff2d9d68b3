"""The journal: what it names is there; what a crash cut off, or damage, is not taken for a stage that is done."""

import pytest

from agent.record.run.journal import FILE, Done, Journal, damage, hashes
from envs.errors import UserError

FIRST, SECOND = Done(1, "practise", {"episodes": 4}, {"env_steps": 9}, 3, 1.5), Done(1, "imitate", {"rate": 0.1})


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path)
    journal.begin({"config": {"rounds": 2}})
    journal.add(FIRST)
    journal.add(SECOND)
    return journal


def test_what_was_written_is_read(journal):
    again = Journal(journal.path.parent)
    assert again.begun["config"] == {"rounds": 2}
    assert again.done == [FIRST, SECOND]
    assert again.find(1, "practise") == FIRST
    assert again.find(2, "practise") is None
    assert (again.metrics, again.wall_s, again.lost) == (0, 1.5, 0)


def test_not_a_number_is_kept(journal):
    journal.add(Done(2, "criticise", {"auroc": float("nan"), "p": float("inf")}))
    row = Journal(journal.path.parent).find(2, "criticise").row
    assert row["auroc"] != row["auroc"]
    assert row["p"] == float("inf")


def test_a_line_that_a_crash_cut_off_is_none_wherever_it_is_cut(journal):
    whole = journal.path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for cut in range(last, len(whole) - 1):
        journal.path.write_bytes(whole[:cut])
        found = Journal(journal.path.parent)
        assert (found.done, found.lost) == ([FIRST], 0)
        found.mend()
        found.add(SECOND)
        assert journal.path.read_bytes() == whole


def test_a_damaged_line_and_those_after_it_do_not_count(journal):
    whole = journal.path.read_bytes()
    first = whole.index(b"\n") + 1
    second = whole.index(b"\n", first) + 1
    for place in range(first, second - 1):
        journal.path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        found = Journal(journal.path.parent)
        assert found.done == []
        assert found.lost >= 1


def test_a_journal_without_its_beginning_is_refused(journal):
    whole = journal.path.read_bytes()
    journal.path.write_bytes(b"{" + whole)
    with pytest.raises(UserError, match=rf"'.*{FILE}' is damaged at its beginning; valid: another --out"):
        Journal(journal.path.parent)


def test_a_journal_of_another_schema_is_refused(tmp_path):
    journal = Journal(tmp_path)
    journal.begin({})
    journal.begun["schema"] = 2
    journal.mend()
    with pytest.raises(UserError, match="has schema 2; valid: 1"):
        Journal(tmp_path)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda folder: (folder / "b" / "c").write_text("d"), "c' is damaged"),
        (lambda folder: (folder / "a").unlink(), "a' is missing"),
    ],
)
def test_damage_is_named(tmp_path, change, what):
    folder = tmp_path / "round_001" / "episodes"
    (folder / "b").mkdir(parents=True)
    for name in ("a", "b/c"):
        (folder / name).write_text(name)
    done = Done(1, "practise", {}, outputs={"round_001/episodes": hashes(folder)})
    assert damage(tmp_path, done) == ({}, [])
    (folder / "new").touch()
    assert damage(tmp_path, done) == ({}, [folder / "new"])
    change(folder)
    assert what in damage(tmp_path, done)[0]["round_001/episodes"]

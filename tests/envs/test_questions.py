"""Questions about pictures: every layout is read, an episode is one answer, and the loop runs on them."""

import json
import shutil
from collections import Counter, defaultdict
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from agent.collect.play import play
from agent.collect.rollout import rollout
from agent.collect.verify import Verifier
from agent.collect.workers import Workers
from agent.commands.checks import check_improve
from agent.config import load as load_config
from agent.loop import improve
from agent.measure.statistics import rate, successes
from agent.organise.store import EpisodeStore
from agent.record.rundir import RunDir
from envs.errors import UserError
from envs.registry import task
from envs.splits import seeds
from envs.starts import distinct, keys
from envs.suites.questions import units as quantities
from envs.suites.questions.scenes import LENGTHS, write
from envs.suites.questions.tasks import question_task
from envs.suites.questions.vqa_data import Row, load, words
from envs.suites.tabletop.words import BIN_WIDTH
from policies import critic, nano, prompt
from policies.action_codec import TextCodec, codec_for
from policies.backend_hf import HFBackend
from policies.baselines import ExpertPolicy, RandomPolicy, ZeroPolicy
from policies.mllm import MLLMPolicy

SHIPPED = Path(__file__).parents[1] / "data" / "questions"
SIZES = {"practice": 60, "gate": 20, "heldout": 20}
KINDS = ("choices", "free")


@pytest.fixture(params=KINDS)
def chosen(request, tmp_path):
    return declare(tmp_path, request.param)


def declare(folder, answers, questions=None):
    """The task of a file that declares it."""
    path = folder / f"{answers}.yaml"
    path.write_text(f"questions: {questions or SHIPPED / answers}\nanswers: {answers}\nimage_size: 32\n")
    return task(str(path))


def picture(width=40, height=20, colour=(255, 0, 0)):
    return Image.new("RGB", (width, height), colour)


def put(folder, changes=None, place="images/train/1"):
    """A folder with three questions of choices, one in each part, with some changes to the first."""
    told = {"question": "Which?", "choices": ["red", "blue"], "answer": 1, "hint": "Look.", "image": "image.png"}
    problems = {str(i + 1): told | {"split": part} for i, part in enumerate(("train", "val", "test"))}
    problems["1"] |= changes or {}
    for where in (place, "images/val/2", "images/test/3"):
        (folder / where).mkdir(parents=True)
        picture().save(folder / where / "image.png")
    (folder / "problems.json").write_text(json.dumps(problems))
    return str(folder)


# reading -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["images/train/1", "train/1"])
def test_the_layout_of_scienceqa_is_read(tmp_path, place):
    rows = load(put(tmp_path, place=place), "choices")
    assert {split: len(some) for split, some in rows.items()} == dict.fromkeys(SIZES, 1)
    (row,) = rows["practice"]
    assert (row.choices, row.answer) == (("red", "blue"), 1)
    assert row.instruction == "Look. Which? (a) red (b) blue"


def test_a_picture_keeps_its_shape(tmp_path):
    (row,) = load(put(tmp_path), "choices")["practice"]
    seen = row.picture(16)
    assert seen.shape == (16, 16, 3)
    assert seen.dtype == np.uint8
    np.testing.assert_array_equal(seen[4:12], np.broadcast_to([255, 0, 0], (8, 16, 3)))
    assert (seen[[0, 3, 12, 15]] == 255).all()  # white above and below


def test_a_question_of_text_alone_is_left_out(tmp_path):
    folder = put(tmp_path)
    problems = json.loads((tmp_path / "problems.json").read_text())
    problems["4"] = problems["1"] | {"image": None}
    (tmp_path / "problems.json").write_text(json.dumps(problems))
    assert len(load(folder, "choices")["practice"]) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": "lost.png"}, r"row '1' of '.*problems.json' names an image that is not there; valid: '.*/lost.png'"),
        ({"answer": 2}, "row '1' of .* has the answer 2; valid: 0 to 1"),
        ({"choices": ["red"]}, "row '1' of .* has 1 choices; valid: 2 to 26"),
        ({"question": None}, "row '1' of .* has no 'question'; valid: question, image"),
        ({"split": "minival"}, r"unknown split of row '1' .*, 'minival'.*valid: final, test, train, val, valid"),
        ({"split": "test", "image": None}, "no questions with a picture in part 'train'"),
    ],
)
def test_a_bad_row_is_named(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        load(put(tmp_path, changes), "choices")


def test_an_image_that_is_none_is_named(tmp_path):
    folder = put(tmp_path)
    (tmp_path / "images/train/1/image.png").write_text("no picture")
    with pytest.raises(UserError, match=r"the image of row '1' of .* cannot be read"):
        load(folder, "choices")["practice"][0].picture(8)


@pytest.mark.parametrize(
    ("answer", "message"), [("far", "'far' is no quantity"), ("3 parsec", "unknown unit 'parsec'")]
)
def test_a_free_answer_without_a_number_or_a_unit_is_named(tmp_path, answer, message):
    with pytest.raises(UserError, match=f"row '1' of .* has the answer '{answer}': {message}"):
        load(put(tmp_path, {"answer": answer}), "free")


def test_a_folder_without_questions_says_what_is_valid(tmp_path):
    with pytest.raises(UserError, match=r"no questions in '.*'; valid: a folder with problems.json, or what datasets"):
        load(str(tmp_path), "choices")
    with pytest.raises(UserError, match="unknown kind of answers 'letters'"):
        load(str(tmp_path), "letters")


def tables(image, extra=None):
    """What `datasets` knows as a DatasetDict of three parts, one question each, and one without a picture."""
    from datasets import Dataset, DatasetDict, Features, List, Value
    from datasets import Image as ImageColumn

    name = "images" if isinstance(image, list) else "image"
    kind = List(ImageColumn()) if isinstance(image, list) else ImageColumn()
    features = {"question": Value("string"), "choices": List(Value("string")), "answer": Value("int64"), name: kind}
    row = {"question": "Which?", "choices": ["red", "blue"], "answer": 1, name: image} | (extra or {})
    rows = [row, row | {name: None}]
    return DatasetDict({p: Dataset.from_list(rows, Features(features)) for p in ("train", "validation", "test")})


@pytest.mark.parametrize("image", [picture(), [picture(20), picture(20)]], ids=["image", "images"])
def test_what_datasets_saved_is_read(tmp_path, image):
    tables(image).save_to_disk(tmp_path / "saved")
    rows = load(str(tmp_path / "saved"), "choices")
    assert [len(some) for some in rows.values()] == [1, 1, 1]
    (row,) = rows["gate"]
    assert row.instruction == "Which? (a) red (b) blue"
    assert (row.picture(16)[8] == [255, 0, 0]).all()


def test_parquet_is_read(tmp_path):
    for part, rows in tables(picture()).items():
        rows.to_parquet(tmp_path / f"{part}-00000-of-00001.parquet")
    (row,) = load(str(tmp_path), "choices")["heldout"]
    assert (row.choices, row.answer) == (("red", "blue"), 1)
    assert (row.picture(16)[8] == [255, 0, 0]).all()


def test_a_table_without_a_column_or_an_image_is_named(tmp_path):
    tables(picture()).remove_columns("answer").save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match=r"part 'train' of .* has no column answer; valid: question, image"):
        load(str(tmp_path / "saved"), "choices")
    lost = {"question": "Which?", "choices": ["red", "blue"], "answer": 1, "image": {"path": "lost.png", "bytes": None}}
    pq.write_table(pa.Table.from_pylist([lost]), tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"row 0 of part 'train' of .* names an image that is not there; .*lost.png'"):
        load(str(tmp_path), "choices")


def test_an_answer_may_begin_with_the_solution(tmp_path):
    """As the column tells it, in one line; practice asks only questions that have one."""
    folder = put(tmp_path, {"solution": "The picture is blue.\nSo it is blue."})
    problems = json.loads((tmp_path / "problems.json").read_text())
    problems["4"] = problems["1"] | {"solution": ""}
    shutil.copytree(tmp_path / "images/train/1", tmp_path / "images/train/4")
    (tmp_path / "problems.json").write_text(json.dumps(problems))
    assert len(load(folder, "choices")["practice"]) == 2
    chosen = question_task("solved", folder, "choices", solutions=True)
    assert {"picture", "So"} <= set(chosen.language.words)
    codec, (played,) = codec_for(chosen), rollout(chosen, ExpertPolicy(chosen, codec_for(chosen)), [(0, 0)])
    assert played.steps[0].decision.answer == "The picture is blue. So it is blue.; answer b"
    assert played.success
    assert codec.decode("blue is blue.; answer b") == ("blue is blue.", 1)
    for answer in "answer b", "zoo; answer b", f"{'blue ' * 20}; answer b":
        with pytest.raises(UserError, match="does not parse"):
            codec.decode(answer)


@pytest.mark.parametrize("solved", [False, True])
def test_choices_are_read_without_a_word_of_which_is_right(solved):
    """Each with its letter, in an answer's own form; free answers have none."""
    chosen = question_task("set", str(SHIPPED / "choices"), "choices", solutions=solved)
    env = chosen.make()
    env.reset(seed=0)
    row, asked = env.unwrapped.row, list(chosen.teacher.captions.ask(env, np.random.default_rng(0), 9, False))
    lettered = dict(zip("abcd", row.choices, strict=False))
    told = {f"{row.instruction}. say {choice}": f"{choice}; answer {letter}" for letter, choice in lettered.items()}
    assert len(asked) == len(row.choices)
    assert dict(asked) == told
    assert len(list(chosen.teacher.captions.ask(env, np.random.default_rng(0), 1, False))) == 1
    assert {"say", "answer", *lettered} <= set(chosen.language.words)
    env.close()
    assert question_task("set", str(SHIPPED / "free"), "free").teacher.captions is None


@pytest.mark.parametrize("solution", ["", "a-]^\\[é"])
def test_whatever_is_said_first_is_an_answer(tmp_path, solution):
    """Of a policy that knows nothing, and speaks wildly, too."""
    folder = put(tmp_path, {"solution": solution}) if solution else str(SHIPPED / "choices")
    chosen = question_task("solved", folder, "choices", solutions=True)
    codec, env = codec_for(chosen), chosen.make()
    env.reset(seed=0)
    seen = chosen.observe(env)
    env.close()
    policy = MLLMPolicy(HFBackend(*nano.build(("answer",), seed=0)), codec, temperature=2.0)
    decisions = policy.act([seen] * 16, [np.random.default_rng(i) for i in range(16)])
    assert {codec.decode(d.answer)[1] for d in decisions} == set(range(len(chosen.actions.names)))


def test_solutions_that_are_nowhere_are_missed(tmp_path):
    with pytest.raises(UserError, match="no questions with a picture and a solution in part 'train'"):
        load(put(tmp_path), "choices", solutions=True)


# what ships ----------------------------------------------------------------------------------------------------------


def scene(row: Row) -> bytes:
    return row.picture(64).tobytes()


@pytest.mark.parametrize("answers", KINDS)
def test_no_question_is_in_two_parts(answers):
    rows = load(str(SHIPPED / answers), answers)
    assert {split: len(some) for split, some in rows.items()} == SIZES
    every = [(row.instruction, scene(row)) for some in rows.values() for row in some]
    assert len(set(every)) == 100


def sort(row: Row) -> str:
    """What is asked, without the names in it."""
    return " ".join(row.question.split()[:2])


def test_letters_and_answers_tell_nothing_without_the_picture(tmp_path):
    """Neither which letter is right, nor which answer is most frequent, nor what was right beside the same choices."""
    write(tmp_path / "questions", {"train": 300, "val": 5, "test": 150}, seed=3)
    rows = load(str(tmp_path / "questions" / "choices"), "choices")
    for some in rows["practice"], rows["heldout"], load(str(SHIPPED / "choices"), "choices")["practice"]:
        counted = defaultdict(Counter)
        for row in some:
            counted[sort(row)][row.answer] += 1
        assert all(max(c.values()) - min(c.values()) <= 1 for c in counted.values()), counted
        assert {len(c) for c in counted.values()} == {3, 4}
    right, shown = defaultdict(Counter), defaultdict(Counter)
    for row in rows["practice"]:
        right[sort(row)][row.choices[row.answer]] += 1
        shown[sort(row)].update(row.choices)
    guessed = [
        max(row.choices, key=lambda c: right[sort(row)][c] / max(1, shown[sort(row)][c])) == row.choices[row.answer]
        for row in rows["heldout"]
    ]
    chance = np.mean([1 / len(row.choices) for row in rows["heldout"]])
    assert rate(guessed)["ci95"][0] < chance < rate(guessed)["ci95"][1]


@pytest.mark.parametrize("answers", KINDS)
def test_a_solution_leads_to_the_answer(answers):
    """The last that is said is the right choice, or the way whose length was asked for, to the width of a bin."""
    for row in (row for some in load(str(SHIPPED / answers), answers).values() for row in some):
        last = row.solution.split("; ")[-1]
        if answers == "choices":
            assert last == row.choices[row.answer]
        else:
            way = 100 * BIN_WIDTH * np.hypot(*map(int, last.split()[-2:]))
            assert abs(way - quantities.split(row.answer)[0]) < 100 * BIN_WIDTH * 2**0.5


def test_no_length_is_frequent(tmp_path):
    write(tmp_path / "questions", {"train": 84, "val": 5, "test": 5}, seed=3)
    lengths = Counter(row.answer for row in load(str(tmp_path / "questions" / "free"), "free")["practice"])
    assert set(lengths) == {f"{n} cm" for n in LENGTHS}
    assert max(lengths.values()) <= 4  # of 84, as many as all others


def test_the_same_seed_writes_what_ships(tmp_path):
    write(tmp_path / "again", {"train": 60, "val": 20, "test": 20}, seed=0)
    for path in sorted(SHIPPED.rglob("problems.json")):
        assert path.read_text() == (tmp_path / "again" / path.relative_to(SHIPPED)).read_text()
    with pytest.raises(UserError, match="exists; valid: one that does not"):
        write(tmp_path / "again", {"train": 1, "val": 1, "test": 1}, seed=0)


# episodes ------------------------------------------------------------------------------------------------------------


def test_seeds_of_a_split_ask_only_its_part(chosen, env):
    rows = env.unwrapped.rows
    for split, n in SIZES.items():
        assert len(keys(chosen, seeds(split, 2 * n))) == n  # each question is a start
        asked = []
        for seed in seeds(split, n + 1):
            env.reset(seed=seed)
            assert env.unwrapped.row in rows[split]
            asked.append(env.unwrapped.row)
        assert set(asked) == set(rows[split])
        assert asked[0] is asked[-1]  # over and over
    with pytest.raises(
        UserError, match="seed 3000000 is of split 'final', which has no questions; valid: practice, gate"
    ):
        env.reset(seed=3_000_000)
    with pytest.raises(UserError, match="seed 4000000 of a question; valid: 0 to 3999999"):
        env.reset(seed=4_000_000)


def test_an_episode_is_one_answer(chosen, env):
    env.reset(seed=0)
    before = chosen.observe(env)
    assert before.frames.shape == (1, 32, 32, 3)
    assert before.instruction == env.unwrapped.row.instruction
    assert str(env.unwrapped.row.answer) not in before.proprioception == ""
    action = codec_for(chosen).decode(codec_for(chosen).encode(*chosen.teacher.expert(env)))[1]
    _, reward, terminated, truncated, info = env.step(action)
    assert (reward, terminated, truncated, info["success"], info["is_success"]) == (1.0, True, False, True, True)
    assert chosen.observe(env).proprioception.startswith("answered ")
    with pytest.raises(ValueError, match="answered before"):
        env.step(action)


def test_a_letter_that_the_question_lacks_is_wrong(tmp_path):
    env = declare(tmp_path, "choices").make()
    seed = next(seed for seed in range(60) if env.reset(seed=seed) and len(env.unwrapped.row.choices) == 3)
    env.reset(seed=seed)
    assert env.step(3)[1:3] == (0.0, True)
    env.reset(seed=seed)
    with pytest.raises(ValueError, match="is not in Discrete"):
        env.step(4)
    env.close()


def test_what_is_no_quantity_is_wrong(tmp_path):
    env = declare(tmp_path, "free").make()
    for text in ("", "far", "14 parsec", "14 kg"):
        env.reset(seed=0)
        assert env.step(text)[1:3] == (0.0, True)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="is not in Text"):
        env.step(14)
    env.close()


def test_a_declaration_may_be_more_tolerant(tmp_path):
    path = tmp_path / "tolerant.yaml"
    path.write_text(f"questions: {SHIPPED / 'free'}\nanswers: free\ntolerance: 0.1\n")
    env = task(str(path)).make()
    env.reset(seed=0)
    length = quantities.split(env.unwrapped.row.answer)[0]
    assert env.step(f"{10.5 * length} mm")[1] == 1.0
    env.close()


def test_a_state_is_returned_to(chosen, env):
    env.reset(seed=7)
    snapshot, fingerprint, seen = env.snapshot(), env.fingerprint(), chosen.observe(env)
    action = RandomPolicy(env.action_space).act([seen], [np.random.default_rng(0)])[0].action
    after = env.step(action)
    ended, final = env.snapshot(), env.fingerprint()
    env.reset(seed=8)
    env.restore(snapshot)
    assert (env.fingerprint(), chosen.observe(env).key()) == (fingerprint, seen.key())
    np.testing.assert_equal(env.step(action), after)
    env.restore(ended)
    assert env.fingerprint() == final


def test_experts_are_right_random_is_chance_and_all_is_stored_and_certified(chosen, tmp_path):
    codec = codec_for(chosen)
    space, starts = codec.action.space, [(seed, 0) for seed in seeds("practice", 60)]
    policies = ExpertPolicy(chosen, codec), RandomPolicy(space), ZeroPolicy(space)
    played = [rollout(chosen, policy, starts) for policy in policies]
    assert [len(e.steps) for some in played for e in some] == [1] * 180
    expert, random, zero = (successes(some).mean() for some in played)
    assert (expert, random < 0.4, zero < 0.4) == (1, True, True)
    if chosen.actions.names[0] == "m":
        assert (random, zero) == (0, 0)
    store = EpisodeStore(tmp_path / "episodes")
    for some in played:
        store.append(some)
    again = list(store)
    with Verifier() as verifier:
        assert {verifier.flaw(e) for e in again} == {""}
    for before, after in zip((e for some in played for e in some), again, strict=True):
        a, b = before.steps[0].decision.action, after.steps[0].decision.action
        assert (a, np.asarray(a).dtype.kind) == (b, np.asarray(b).dtype.kind)


def test_more_episodes_than_questions_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"100 episodes of heldout of '.*choices.yaml': found 20 .*; valid: at most 20"):
        distinct(declare(tmp_path, "choices"), "heldout", 100)
    with pytest.raises(UserError, match=r"split 'final' of task .* is empty; valid: practice, gate, heldout"):
        distinct(declare(tmp_path, "choices"), "final", 1)


def test_the_declared_task_that_ships_is_read(tmp_path):
    """On what its own comment says to write, which is larger, it works as here."""
    text = (Path(__file__).parents[2] / "configs" / "tasks" / "scene_questions.yaml").read_text()
    path = tmp_path / "scene_questions.yaml"
    path.write_text(text.replace("runs/questions", str(SHIPPED)))
    assert len(distinct(task(str(path)), "heldout", SIZES["heldout"])) == SIZES["heldout"]


def test_a_bad_declaration_is_named(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("questions: nowhere\nanswers: letters\n")
    with pytest.raises(UserError, match="'answers' = 'letters'"):
        task(str(path))
    other = tmp_path / "worse.yaml"
    other.write_text("questions: nowhere\nimage: 64\n")
    with pytest.raises(UserError, match="unknown config key 'image'"):
        task(str(other))


# quantities and their text -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "right", "same"),
    [
        ("980 cm/s^2", "9.8 m/s^2", True),
        ("9.85 m/s^2", "9.8 m/s^2", True),
        ("9.91 m/s^2", "9.8 m/s^2", False),
        ("9.8 m/s", "9.8 m/s^2", False),
        ("9.8", "9.8 m/s^2", False),
        ("36 km/h", "10 m/s", True),
        ("1 N*m", "1 J", True),
        ("1 kg*m^2/s^2", "1 J", True),
        ("1.602e-19 J", "1 eV", True),
        ("2 min", "120 s", True),
        ("1 L", "1000 cm^3", True),
        ("180 deg", "3.1416 rad", True),
        ("-5 mA", "-5000 uA", True),
        ("0 m", "0 m", True),
        ("5 m", "-5 m", False),
        ("50 %", "0.5", True),
        ("14cm", "0.14 m", True),
        ("3 kg/m^3", "3e-3 g/cm^3", True),
    ],
)
def test_units_are_converted(said, right, same):
    assert quantities.equal(said, right, 0.01) is same


@pytest.mark.parametrize("text", ["", "m", "1 2", "1 m/s^x", "1 apple", "1 m s", "1..2 m"])
def test_what_is_no_quantity_says_what_is(text):
    with pytest.raises(UserError, match="valid: "):
        quantities.in_base_units(text)


def test_every_common_unit_is_known():
    for unit in quantities.COMMON:
        quantities.in_base_units(f"1 {unit}")


@pytest.mark.parametrize(
    "answer", ["14 cm", "-0.5", "9.80665 m/s^2", "299792458 m/s", "0.000123 m", "1e-12 eV", "50 %"]
)
def test_free_answers_make_the_round_trip(chosen, answer):
    codec = TextCodec(None, quantities.COMMON)
    action = codec.decode(codec.encode(answer))
    assert quantities.equal(action, answer, 1e-3)
    assert codec.encode(action) == f"answer {action}"
    assert codec.instead("answer 1 m", f"answer {action}") == f"answer {action} other"
    assert codec.instead(f"answer {action}", f"answer {action}") == f"answer {action} same"


def test_what_free_answers_may_not_say():
    codec = TextCodec(None, ("m", "s"))
    with pytest.raises(UserError, match="unit 'kg' of '1 kg'; valid: m, s"):
        codec.encode("1 kg")
    for text in ("answer 1 kg", "answer", "answer 12345", "1 m", "answer one"):
        with pytest.raises(UserError, match="does not parse; valid: answer"):
            codec.decode(text)


# the loop ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A folder with the embedded policy, its weights random, that knows the words of both shipped sets."""
    folder = tmp_path_factory.mktemp("reader") / "policy"
    known = {word for answers in KINDS for word in words(str(SHIPPED / answers), answers)}
    known |= {word for answers in KINDS for word in codec_of(answers).action.vocabulary}
    HFBackend(*nano.build((*sorted(known), *prompt.WORDS, *critic.VERDICTS), seed=0)).save(folder)
    return folder


def codec_of(answers):
    return codec_for(question_task(answers, str(SHIPPED / answers), answers))


def test_words_are_single_tokens(reader):
    tokenizer = HFBackend.load(reader).processor.tokenizer
    row = load(str(SHIPPED / "choices"), "choices")["practice"][0]
    said = row.instruction.replace("(", "( ").split()
    assert len(tokenizer(row.instruction, add_special_tokens=False)["input_ids"]) <= 2 * len(said)


@pytest.mark.slow
def test_the_loop_runs_on_questions(reader, tmp_path):
    """Random letters are right often enough to learn from; random numbers are not, and that is no crash."""
    names = [declare(tmp_path, answers).name for answers in KINDS]
    trainer = {"max_steps": 2, "per_device_train_batch_size": 2, "logging_steps": 1}
    values = {
        "policy": str(reader),
        "tasks": names,
        "out": str(tmp_path / "run"),
        "rounds": 1,
        "n_envs": 16,
        "threads": 1,
        "collect": {"starts": 6, "attempts": 4},
        "branch": {"starts": 8, "where": "early", "answers": 4},
        "select": {"critiques": 10},
        "critic": {"proposals": 2},
        "gate": {"episodes": 4, "p_value": 1.0},
        "evaluation": {"tasks": names, "episodes": 4, "videos": 1},
        "tracking": {"mode": "disabled"},
        "sft": trainer,
        "dpo": trainer,
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(values))
    config = load_config(path)
    check_improve(config)
    with Workers(1) as workers:
        results = improve(config, RunDir(tmp_path / "run"), workers)
    assert json.loads(json.dumps(asdict(config))) == json.loads(json.dumps(results["config"]))
    (row,) = results["rounds"]
    assert row["episodes"] == 48
    assert min(row["successes"], row["sft_examples"], row["branches"], row["pairs"]) > 0
    assert {row["before"]["n"] for row in results["heldout"].values()} == {4}
    assert len(list((tmp_path / "run" / "round_001" / "videos").glob("*.mp4"))) == 2
    practised = list(EpisodeStore(tmp_path / "run" / "round_001" / "episodes"))
    assert {e.ending for e in practised} == {"terminated"}
    with Verifier() as verifier:
        assert {verifier.flaw(e) for e in practised} == {""}
    assert all(e.conclusion for e in practised)


def test_an_expert_is_right_by_the_command_too(tmp_path):
    name = declare(tmp_path, "free").name
    assert all(e.success for e in play(name, "expert", [(seed, 0) for seed in seeds("heldout", 20)]))

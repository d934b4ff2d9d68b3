"""Bytes flipped, cut, doubled or put in: a file is refused in one line, or read; no crash, no hang, no gigabyte.

A flipped bit within weights, or a word that became another, is a valid file of another content: only a hash finds it,
which is why a run's own checkpoints and shards have one.
"""

import json
import resource
import shutil
import struct
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from question_files import PARTS, ROW, png, put

from agent.config import load as load_config
from envs.declared import declared
from envs.errors import UserError
from envs.suites.questions.vqa_data import load as load_questions
from policies.backends.checkpoint import files
from policies.backends.loading import load_backend, load_template
from policies.backends.settings import ModelSettings

CONFIGS = Path(__file__).parents[2] / "configs"
SECONDS, KILOBYTES = 20, 10**6  # at most, of one load on a busy machine
REFUSED, READ = "refused", "read"


def damaged(content, rng, most=None):
    """One to three changes of the bytes, of single ones in two of three files. most: before which byte they lie."""
    kinds = 3 if rng.random() < 2 / 3 else 6
    for _ in range(rng.integers(1, 4)):
        most = min(most or len(content), len(content))
        at, to = sorted(rng.integers(most + 1, size=2).tolist())
        change = rng.integers(kinds)
        if change == 0 and at < len(content):
            content = content[:at] + bytes([content[at] ^ (1 << int(rng.integers(8)))]) + content[at + 1 :]
        elif change == 1:
            content = content[:at] + rng.bytes(1) + content[at + 1 :]
        elif change == 2:
            content = content[:at] + rng.bytes(int(rng.integers(1, 5))) + content[at:]
        elif change == 3:
            content = content[:to] + content[at:]
        elif change == 4:
            content = content[:at] + content[to:]
        else:
            content = content[:at]
    return content


def outcome(call, *arguments):
    """Refused in one line, or read. Raises what else the call raises, and AssertionError where it took too much."""
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    result = READ
    try:
        call(*arguments)
    except UserError as error:
        message = str(error)
        assert len(message.splitlines()) == 1, "several lines"
        assert len(message) < 3000, "a long message"
        result = REFUSED
    assert time.monotonic() - begun < SECONDS, "too slow"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < KILOBYTES, "too much memory"
    return result


def outcomes(path, n, call, most=None):
    """What becomes of n damaged versions of the file, which is put back afterwards; the damage is noted on an error."""
    whole, found = path.read_bytes(), []
    try:
        for seed in range(n):
            path.write_bytes(damaged(whole, np.random.default_rng([seed, len(whole)]), most))
            found.append(outcome(call))
    except BaseException as error:  # panics of tokenizers, which is written in Rust, are no Exception
        error.add_note(f"seed {seed} of {path.name}")
        raise
    finally:
        path.write_bytes(whole)
    return found


@pytest.mark.parametrize("name", ["demo.yaml", "pretrain.yaml"])
def test_a_config(tmp_path, name):
    from agent.config import Config, Pretrain

    path = tmp_path / name
    shutil.copy(CONFIGS / name, path)
    kind = Pretrain if name == "pretrain.yaml" else Config
    assert set(outcomes(path, 60, lambda: load_config(path, kind=kind))) == {READ, REFUSED}


def test_a_declared_task(tmp_path):
    path = tmp_path / "task.yaml"
    path.write_text("id: CartPole-v1\ninstruction: balance\nsuccess: {of: return, at_least: 1}\nmax_steps: 50\n")
    assert set(outcomes(path, 60, lambda: declared.__wrapped__(str(path)))) == {READ, REFUSED}


@pytest.mark.parametrize("name", ["problems.json", "images/train/1/image.png"])
def test_a_set_of_questions(tmp_path, name):
    folder = put(tmp_path)
    assert REFUSED in outcomes(tmp_path / name, 80, lambda: load_questions.__wrapped__(folder, "choices"))


def test_a_table_of_questions(tmp_path):
    for part in PARTS.values():
        rows = [{k: v for k, v in ROW.items() if k != "image"} | {"image": {"bytes": png(), "path": None}}] * 3
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{part}.parquet")
    path = tmp_path / "train.parquet"
    assert REFUSED in outcomes(path, 80, lambda: load_questions.__wrapped__(str(tmp_path), "choices"))


@pytest.fixture(scope="module")
def checkpoint(nano_checkpoint, tmp_path_factory):
    return shutil.copytree(nano_checkpoint, tmp_path_factory.mktemp("damaged") / "policy")


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer.json", "processor_config.json"])
def test_a_checkpoints_template(checkpoint, name):
    found = outcomes(checkpoint / name, 20, lambda: load_template(checkpoint, ModelSettings()))
    assert REFUSED in found


def header_of(path):
    """The bytes of a safetensors file that are no weights."""
    (length,) = struct.unpack("<Q", path.read_bytes()[:8])
    return 8 + length


def test_the_header_of_a_checkpoints_weights(checkpoint):
    path = checkpoint / "model.safetensors"
    found = outcomes(path, 60, lambda: files.check_weights(checkpoint), header_of(path))
    assert found.count(REFUSED) > 50


@pytest.mark.slow
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer_config.json"])
def test_a_checkpoint(checkpoint, name):
    path = checkpoint / name
    most = header_of(path) if path.suffix == ".safetensors" else None
    assert REFUSED in outcomes(path, 15, lambda: load_backend(checkpoint), most)


ODD = (None, True, -1, 0, 3, 10**9, 1e308, "x", "../../x", [], [None], {}, {"a": 1})
JSON_FILES = ("config.json", "processor_config.json", "tokenizer_config.json", "generation_config.json")


def places(value, path=()):
    """The path of each value within a value of JSON."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield (*path, key)
        yield from places(part, (*path, key))


@pytest.mark.slow
@pytest.mark.parametrize("name", JSON_FILES)
def test_any_value_in_a_checkpoints_json(checkpoint, name):
    """Ten values, each replaced by an odd one: JSON all the same."""
    path, rng, found = checkpoint / name, np.random.default_rng(0), []
    whole = path.read_text()
    every = [*places(json.loads(whole))]
    for _ in range(10):
        values, (*sections, last) = json.loads(whole), every[rng.integers(len(every))]
        at = values
        for key in sections:
            at = at[key]
        at[last] = ODD[rng.integers(len(ODD))]
        path.write_text(json.dumps(values))
        found.append(outcome(load_backend, checkpoint))
    path.write_text(whole)
    assert set(found) <= {READ, REFUSED}
    assert outcome(load_backend, checkpoint) == READ


def test_numbers_of_a_config_that_became_huge(checkpoint):
    """Each number of config.json a million times larger: refused before it is allocated, or of no effect."""
    path = checkpoint / "config.json"
    whole = json.loads(path.read_text())
    config = {**whole, **whole["text_config"], **whole["vision_config"]}
    numbers = sorted({name for name, value in config.items() if isinstance(value, int) and value not in (True, False)})
    assert {"hidden_size", "num_hidden_layers", "vocab_size"} <= set(numbers)
    before = path.read_text()
    for name in numbers:
        changed = json.loads(before)
        for section in (changed, changed["text_config"], changed["vision_config"]):
            if name in section:
                section[name] = section[name] * 10**6
        path.write_text(json.dumps(changed))
        try:
            outcome(load_backend, checkpoint)
        except Exception as error:
            error.add_note(name)
            raise
    path.write_text(before)

"""Every family of models answers as it would alone, whatever shares its batch and however its prompt was read."""

import json
import subprocess
import sys

import pytest

from tests.families.build import FAMILIES

TOLERANCE = 1e-5  # of odds, in float32
HALVES = list(FAMILIES)[::2], list(FAMILIES)[1::2]


@pytest.mark.slow
@pytest.mark.parametrize("names", HALVES, ids=", ".join)
def test_each_family_answers_as_alone(names, tmp_path, subtests):
    command = [sys.executable, "-m", "tests.families.check", str(tmp_path), *names]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    results = {result["family"]: result for result in map(json.loads, ran.stdout.splitlines())}
    assert list(results) == names
    for name, result in results.items():
        with subtests.test(name):
            if "skipped" in result:
                pytest.skip(result["skipped"])
            assert "error" not in result, result["error"]
            for frames in (1, 2):
                compared = result[f"frames_{frames}"]
                assert compared["other_answers"] == 0
                assert compared["odds_difference"] < TOLERANCE
            assert result["sft_difference"] < 1e-2
            assert result["sft_gain"] > 0
            assert result["dpo_first_reward"] == 0
            assert result["merge_difference"] < 1e-4
            assert result["shares"]
            assert result["padding"]

"""A fresh machine: missing libraries are found before the long install, and installed where that is allowed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GL, VENV = "can_render.py", "ensurepip"  # what the checks of each are known by
ARGUMENTS = 'case "$*" in'


@pytest.fixture
def machine(tmp_path):
    """Runs .ci/prepare with fake programs alone: a Python without some modules, an apt-get that installs them."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def program(name, script):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    def run(lacks=(), user=0, programs=("apt-get",), version="3.11", brings=True, python="python3"):
        lacking = "".join(f"*{check}*) [ -e {tmp_path}/brought ]; exit ;; " for check in lacks)
        unfit = "exit 1" if version in ("3.9", "3.14") else "exit 0"
        program("python3", f"{ARGUMENTS} {lacking} *print*) echo {version} ;; *version_info*) {unfit} ;; esac")
        program("id", f"echo {user}")
        for name in programs:
            program(name, f'echo "{name} $*" >> {tmp_path}/log' + (f"; : > {tmp_path}/brought" if brings else ""))
        command = [str(ROOT / ".ci" / "prepare"), python]
        done = subprocess.run(command, env={"PATH": str(folder)}, capture_output=True, text=True, timeout=30)
        log = tmp_path / "log"
        return done.returncode, done.stderr, log.read_text() if log.exists() else ""

    return run


def test_a_machine_that_has_all_is_left_alone(machine):
    assert machine() == (0, "", "")
    assert machine(user=1000, programs=()) == (0, "", "")


@pytest.mark.parametrize(
    ("lacking", "packages"), [(GL, "libegl1 libgl1-mesa-dri"), (VENV, "python3.11-venv")], ids=["GL", "venv"]
)
def test_root_installs_what_is_missing(machine, lacking, packages):
    status, error, log = machine([lacking])
    assert (status, error) == (0, "")
    assert log == f"apt-get update -qq\napt-get install -y -qq {packages}\n"


@pytest.mark.parametrize(
    ("case", "part"),
    [
        ({"lacks": [GL], "user": 1000}, "no GL library .* sudo apt-get install libegl1 libgl1-mesa-dri$"),
        ({"lacks": [VENV], "user": 1000}, "no module venv in Python 3.11; .* sudo apt-get install python3.11-venv$"),
        ({"lacks": [GL], "user": 1000, "programs": ["dnf"]}, "sudo dnf install mesa-libEGL mesa-dri-drivers$"),
        ({"lacks": [GL], "programs": ["pacman"]}, "valid, once: pacman -S mesa$"),
        ({"lacks": [GL], "programs": []}, "apt-get install libegl1"),
        ({"lacks": [GL], "brings": False}, "no GL library .* though libegl1 libgl1-mesa-dri are installed$"),
        ({"version": "3.9"}, "python3 is Python 3.9; valid: make PYTHON=.* 3.11, 3.12 or 3.13$"),
        ({"version": "3.9", "programs": ["python3.12"]}, "python3 is Python 3.9; valid: make PYTHON=python3.12$"),
        ({"version": "3.14", "programs": ["python3.13"]}, "python3 is Python 3.14; valid: make PYTHON=python3.13$"),
        ({"python": "python4"}, "no python4; valid: make PYTHON=.* 3.11, 3.12 or 3.13$"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_installed_is_one_line(machine, case, part):
    status, error, log = machine(**case)
    assert status == 2
    assert error.startswith("handeye: error: ")
    assert error.count("\n") == 1
    assert re.search(part, error.strip()), error
    assert "install" not in log or not case.get("brings", True)


@pytest.mark.skipif(sys.platform != "linux", reason="Mesa's software EGL is Linux's")
def test_a_missing_driver_is_noticed(tmp_path):
    """The probe passes on this machine, and fails where libEGL is there without a vendor's library."""
    program = [sys.executable, str(ROOT / ".ci" / "can_render.py")]
    environment = {**os.environ, "MUJOCO_GL": "egl"}
    assert subprocess.run(program, env=environment, timeout=30).returncode == 0
    environment["__EGL_VENDOR_LIBRARY_DIRS"] = str(tmp_path)
    assert subprocess.run(program, env=environment, timeout=30).returncode == 1
    environment["MUJOCO_GL"] = "osmesa"  # which needs no EGL
    assert subprocess.run(program, env=environment, timeout=30).returncode == 0


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
@pytest.mark.parametrize("target", ["demo", "test", "check", "lint"])
def test_a_target_prepares_before_it_installs(target, tmp_path):
    (tmp_path / "pyproject.toml").touch()
    plan = subprocess.run(
        ["make", "--dry-run", "--file", str(ROOT / "Makefile"), target, "PYTHON=python4"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout
    assert plan.index(".ci/prepare python4") < plan.index("python4 -m venv .venv") < plan.index("pip install")

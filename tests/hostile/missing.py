"""Each command that plays or trains, started on a machine where one thing is missing: a table of what is said.

    python -m tests.hostile.missing [--only home ...] [--commands eval ...] [--json FILE]   (root, Linux: it mounts)

It must end with one line that names what is missing, before anything long starts, and leave nothing behind; or go on
where the thing is not needed. Exits with status 1 otherwise.
"""

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.reliability import tiny

ROOT = Path(__file__).parents[2]
USER = 12345  # a user without an entry in the list of users, and so without a home
LIMIT_S = 420.0
LONG_S = 120.0  # a refusal comes earlier, on a machine that is busy
TASK, ROBOTICS, METAWORLD = "reach", "fetch-reach", "mw-reach"
SMALL_KB = 200
HIDE = """
import sys
from importlib.machinery import PathFinder

class Hidden(PathFinder):
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        return None if fullname.partition(".")[0] == {name!r} else super().find_spec(fullname, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hidden
"""


@dataclass(frozen=True)
class Thing:
    """Something that is missing.

    task: which needs it; empty for a task that needs none of it. setup: what a shell does first, in a file system of
    its own, in the folder of the case. user: who runs it. named: a part of what is said, where it is refused.
    """

    what: str
    task: str = ""
    setup: str = ""
    variables: dict[str, str | None] = field(default_factory=dict)
    user: int | None = None
    named: str = ""
    only: tuple[str, ...] = ()
    is_refused: bool = True


def masked(pattern: str) -> str:
    """A shell line after which no library of this kind is found."""
    return f"for f in $(ldconfig -p | sed -n 's|.*=> ||p' | grep -E '{pattern}'); do mount --bind /dev/null $f; done"


def reachable() -> str:
    """Shell lines after which another user can run this interpreter, where it lies in the home of root."""
    base = Path(sys.base_prefix)
    top = Path("/", *base.parts[1:2])
    if top.stat().st_mode & 0o001:
        return ":"
    kept = f"mkdir -p $PWD.python && mount --bind {base} $PWD.python"
    emptied = f"mount -t tmpfs -o mode=755 tmpfs {top} && mkdir -p {base}"
    return f"{kept} && {emptied} && mount --move $PWD.python {base}"


READ_ONLY = "mount --bind . . && mount -o remount,ro,bind . && cd $PWD"
FULL = f"mkdir -p small && mount -t tmpfs -o size={SMALL_KB}k tmpfs small"
WRITERS = ("improve", "compare", "rollout", "pretrain", "baseline", "audit")
TRACKED = ("improve", "compare")
THINGS = {
    "egl": Thing("no library of EGL", TASK, masked("libEGL"), {"MUJOCO_GL": "egl"}, named="MUJOCO_GL"),
    "driver": Thing(
        "EGL without a driver",
        TASK,
        variables={"MUJOCO_GL": "egl", "__EGL_VENDOR_LIBRARY_FILENAMES": "/nowhere.json"},
        named="MUJOCO_GL",
    ),
    "osmesa": Thing("MUJOCO_GL=osmesa without OSMesa", TASK, variables={"MUJOCO_GL": "osmesa"}, named="MUJOCO_GL"),
    "glfw": Thing("MUJOCO_GL=glfw without a display", TASK, variables={"MUJOCO_GL": "glfw"}, named="MUJOCO_GL"),
    "disk": Thing(f"{SMALL_KB} KB of space, for TMPDIR too", "", FULL, {"TMPDIR": "small"}, named="small"),
    "closed": Thing("nothing listens at W&B's address", only=TRACKED, is_refused=False, named="Weights & Biases"),
    "silent": Thing("W&B's server never answers", only=TRACKED, is_refused=False, named="Weights & Biases"),
    "robotics": Thing("no gymnasium_robotics", ROBOTICS, variables={"HIDE": "gymnasium_robotics"}, named="robotics"),
    "metaworld": Thing("no metaworld", METAWORLD, variables={"HIDE": "metaworld"}, named="metaworld"),
    "write": Thing("a read-only file system", "", READ_ONLY, named="ead-only"),
    "user": Thing("a folder of another user", "", "chmod 755 .", user=USER, named="ermission"),
    "home": Thing("no HOME, and no such user", "", "chmod 777 .", {"HOME": None}, USER, is_refused=False),
    "nowhere": Thing("HOME is no folder", "", "chmod 777 .", {"HOME": "/nowhere/at/all"}, USER, is_refused=False),
    "closed home": Thing("HOME cannot be written", "", "chmod 777 .", {"HOME": "/"}, USER, is_refused=False),
}


def command(name: str, task: str, out: str) -> list[str]:
    """The arguments of `handeye`. task: empty for the tiny one."""
    played, policy = task or tiny.TASK, "seed" if task else tiny.POLICY
    keys = ["--policy", policy, "--tasks", f"[{played}]", "--evaluation.tasks", f"[{played}]", "--out", out]
    trains = task or "cartpole"
    return {
        "eval": ["eval", played, "--policy", "random", "--episodes", "2", "--n-envs", "2"],
        "rollout": ["rollout", played, out, "--policy", "random", "--episodes", "2", "--n-envs", "2"],
        "improve": ["improve", tiny.CONFIG, *keys, "--workers", "1"],
        "pretrain": ["pretrain", "pretrain.yaml", "--tasks", f"[{task or TASK}]", "--out", out],
        "baseline": ["baseline", trains, "--steps", "64", "--episodes", "2", "--n-envs", "1", "--out", out],
        "compare": ["compare", f"compare-{Path(task).name or 'tiny'}-{Path(out).parent.name or 'here'}.yaml"],
        "audit": ["audit", policy, "--tasks", played, "--episodes", "2", "--json", f"{out}.json"],
        "replay": ["replay", f"episodes-{Path(task).name or 'tiny'}"],
    }[name]


COMMANDS = ("eval", "rollout", "improve", "pretrain", "baseline", "compare", "audit", "replay")


def prepare(folder: Path, tasks: Sequence[str], with_episodes: bool) -> None:
    """Write everything that the commands start from. tasks: other than the tiny one."""
    tiny.prepare(folder, rounds=1, threads=1)
    trained = {"max_steps": 2, "per_device_train_batch_size": 2, "logging_steps": 1}
    pretrained = {"out": "out", "tasks": [TASK], "stages": {"one": {"demonstrations": {}, "sft": trained}}}
    for task in ("", *tasks):
        name = Path(task).name or "tiny"
        keys = {"policy": "seed", "tasks": [task], "evaluation.tasks": [task]} if task else {}
        for out, place in (("here", "out"), ("small", "small/out")):
            arms = {"out": place, "base": tiny.CONFIG, "seeds": [0], "arms": {"one": {}}, "common": keys}
            (folder / f"compare-{name}-{out}.yaml").write_text(json.dumps(arms))
        if with_episodes:
            arguments = ["rollout", task or tiny.TASK, f"episodes-{name}", "--policy", "random", "--episodes", "1"]
            done = run([sys.executable, "-m", "agent.cli", *arguments], folder, environment({}))
            assert done[0] == 0, done[1]
    pretrained["stages"]["one"] |= {"scenes": 2}
    (folder / "pretrain.yaml").write_text(json.dumps(pretrained))


def environment(changes: dict[str, str | None]) -> dict[str, str]:
    """The variables of a case; None removes one."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests/reliability")])
    plain = {
        name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "MUJOCO", "XDG", "PYOPENGL"))
    }
    values = plain | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "200"} | changes
    return {name: value for name, value in values.items() if value is not None}


def run(arguments: Sequence[str], folder: Path, variables: dict[str, str]) -> tuple[int, str, str, float]:
    """Exit status (-1 past LIMIT_S), stdout, stderr, [s]."""
    began = time.monotonic()
    process = subprocess.Popen(
        arguments, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        out, error = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        out, error = process.communicate()
        return -1, out, error, time.monotonic() - began
    return process.returncode, out, error, time.monotonic() - began


@dataclass
class Case:
    """What became of a command without something."""

    name: str
    thing: str
    status: int
    said: str
    seconds: float
    left: list[str]
    wrong: str = ""


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def tried(base: Path, name: str, key: str, address: str = "") -> Case:
    """Run a command without a thing, in a copy of the prepared folder."""
    thing = THINGS[key]
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        folder = Path(place) / "work"
        subprocess.run(["cp", "-r", base, folder], check=True)
        Path(place).chmod(0o755)
        variables, arguments = dict(thing.variables), command(name, thing.task, "out")
        if key == "disk":
            arguments = command(name, thing.task, "small/out")
            variables["TMPDIR"] = str(folder / "small")
            (folder / "small").mkdir()
        if name == "baseline" and not thing.task:
            arguments[1] = "cartpole"
        if hidden := variables.pop("HIDE", ""):
            (Path(place) / "sitecustomize.py").write_text(HIDE.format(name=hidden))
            variables["PYTHONPATH"] = os.pathsep.join([place, environment({})["PYTHONPATH"]])
        if address:
            variables |= {"WANDB_BASE_URL": address, "WANDB_API_KEY": "0" * 40}
            if name == "improve":
                arguments += ["--tracking.mode", "online"]
            else:
                text = (folder / arguments[1]).read_text()
                (folder / arguments[1]).write_text(text.replace('"common": {', '"common": {"tracking.mode": "online"'))
        before = files(folder)
        started = [sys.executable, "-m", "agent.cli", *arguments]
        setup = f"{thing.setup} && {reachable()}" if thing.user else thing.setup
        if thing.user:
            started = ["setpriv", f"--reuid={thing.user}", f"--regid={thing.user}", "--clear-groups", *started]
        if setup:
            started = ["unshare", "-m", "sh", "-c", f'{setup}; exec "$@"', "sh", *started]
        status, out, error, seconds = run(started, folder, environment(variables))
        left = sorted(files(folder) - before - {"small"})
    return judged(Case(name, key, status, said(out, error), seconds, left), out, error)


def said(out: str, error: str) -> str:
    """The last line, of stderr if it says why."""
    lines = [line for line in error.splitlines() if line.startswith("handeye: error:")]
    spoken = [line for line in out.splitlines() if "Weights & Biases" in line]
    last = [line for line in (*error.splitlines(), *out.splitlines()) if line.strip()]
    return (lines or spoken or last or [""])[-1].strip()


def judged(case: Case, out: str, error: str) -> Case:
    """The case with what is wrong about it."""
    thing = THINGS[case.thing]
    wrong = []
    if "Traceback" in error + out:
        wrong.append("a traceback")
    if case.status == -1:
        wrong.append("it did not end")
    if case.status not in (0, 2):
        wrong.append(f"status {case.status}")
    if case.status == 2:
        if not case.said.startswith("handeye: error:"):
            wrong.append("no line")
        if thing.named and thing.named not in case.said:
            wrong.append(f"{thing.named!r} is not named")
        if case.left:
            wrong.append(f"left {', '.join(case.left[:3])}")
        if case.seconds > LONG_S:
            wrong.append("late")
        if not thing.is_refused:
            wrong.append("refused")
    case.wrong = "; ".join(wrong)
    if case.wrong:
        print(out[-2000:], error[-3000:], sep="\n", file=sys.stderr)
    return case


@contextmanager
def served(key: str) -> Iterator[str]:
    """The address of a server of W&B that is missing; empty where that is not what is missing."""
    if key not in ("closed", "silent"):
        yield ""
        return
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        if key == "closed":
            server.close()
        yield f"http://{host}:{port}"


def table(cases: Sequence[Case]) -> str:
    """Markdown."""
    lines = ["| missing | command | status | seconds | what is said |", "| --- | --- | --- | --- | --- |"]
    for case in cases:
        text = re.sub(r"/tmp/\w+/work/", "", case.said.removeprefix("handeye: error: ")).replace("|", "\\|")
        text = text.replace(str(ROOT), "").replace(sysconfig.get_path("purelib"), "")
        what = f"{text}{f' **{case.wrong}**' if case.wrong else ''}"
        lines.append(f"| {THINGS[case.thing].what} | {case.name} | {case.status} | {case.seconds:.0f} | {what} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[*THINGS], choices=[*THINGS])
    parser.add_argument("--commands", nargs="*", default=[*COMMANDS], choices=COMMANDS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cases = []
    with tempfile.TemporaryDirectory(dir="/tmp") as place, ExitStack():
        base = Path(place) / "base"
        needed = {THINGS[key].task for key in options.only} - {""}
        prepare(base, sorted(needed), "replay" in options.commands)
        for key in options.only:
            for name in options.commands:
                if not THINGS[key].only or name in THINGS[key].only:
                    with served(key) as address:
                        cases.append(tried(base, name, key, address))
                    print(cases[-1], flush=True)
                    if options.json:
                        options.json.write_text(json.dumps([asdict(case) for case in cases], indent=1) + "\n")
    print(table(cases))
    sys.exit(any(case.wrong for case in cases))


if __name__ == "__main__":
    main()

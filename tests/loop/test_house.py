"""The house stays readable: how long a file, a folder and the outer loop may be, and that each room holds what it says.

The imports between the rooms are checked by import-linter (pyproject.toml), links and commands of the README in
test_docs.py.
"""

import ast
import re
from collections import Counter
from pathlib import Path

import agent.loop
from agent.cli import COMMANDS

ROOT = Path(__file__).parents[2]
SOURCES = [path for folder in ("agent", "envs", "policies", "tests") for path in (ROOT / folder).rglob("*.py")]
TEXTS = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
FILE_LINES, FOLDER_MODULES, LOOP_LINES, LOOP_FUNCTION_LINES = 350, 12, 100, 45  # at most


def above(limit, sizes):
    """Those of {path: size} that are larger than the limit, their paths relative to the repository."""
    return {str(path.relative_to(ROOT)): size for path, size in sizes.items() if size > limit}


def lines(path):
    return len(path.read_text().splitlines())


def modules(folder):
    """Names of the modules in a folder, those of its folders included."""
    return {path.stem for path in folder.rglob("*.py")} - {"__init__"}


def test_no_file_is_too_long():
    assert {ROOT / "agent" / "loop.py", Path(__file__)} <= set(SOURCES)
    assert above(FILE_LINES, {path: lines(path) for path in (*SOURCES, *TEXTS)}) == {}


def test_no_folder_has_too_many_modules():
    counted = Counter(path.parent for path in SOURCES if path.name not in ("__init__.py", "conftest.py"))
    assert above(FOLDER_MODULES, counted) == {}


def test_the_outer_loop_is_read_at_a_glance():
    path = Path(agent.loop.__file__)
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    assert {"improve", "one_round"} <= {node.name for node in functions}
    assert lines(path) <= LOOP_LINES
    assert {
        n.name: n.end_lineno - n.lineno + 1 for n in functions if n.end_lineno - n.lineno >= LOOP_FUNCTION_LINES
    } == {}


def imported_by(path):
    """The modules that a file imports from."""
    return {node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}


def test_every_stage_is_called_by_the_loop():
    """A file in stages/ is a link of the round, apart from round.py and stage.py, which hold what the links share, and
    recorded.py, which reads what they did. The trainings are called by optimise.py."""
    stages = ROOT / "agent" / "stages"
    links = {f"agent.stages.{path.stem}" for path in stages.glob("[!_]*.py")}
    links -= {f"agent.stages.{name}" for name in ("round", "stage", "recorded")}
    assert links <= imported_by(Path(agent.loop.__file__))
    trainings = {f"agent.stages.optimisers.{path.stem}" for path in (stages / "optimisers").glob("[!_]*.py")}
    assert trainings <= imported_by(stages / "optimise.py")


def test_every_command_has_a_file_of_its_own():
    """In a folder of commands/; beside the folders lies what commands share."""
    rooms = [path for path in (ROOT / "agent" / "commands").iterdir() if path.is_dir() and path.name != "__pycache__"]
    files = Counter(name for room in rooms for name in modules(room))
    assert files == Counter(command.__module__.split(".")[-1] for command in COMMANDS.values())


def readme_tree():
    """(top folder, path below it) of each `room/` and `module.py` that README's file tree names, also within a line."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.DOTALL | re.MULTILINE)
    (tree,) = (block for block in blocks if re.search("^agent/ ", block, flags=re.MULTILINE))
    top = ""
    for line in tree.splitlines():
        top = line.split()[0].split("/")[0] if re.match(r"\w+/", line) else top
        for name in re.findall(r"[\w/]+(?:/(?=[\s;:,.]|$)|\.py\b)", line):
            yield top, name.removeprefix(f"{top}/").strip("/")


def test_rooms_and_modules_in_the_file_tree_exist():
    named = list(readme_tree())
    assert [f"{top}/{path}" for top, path in named if path and not list((ROOT / top).rglob(path))] == []
    rooms = {path.parent.name for path in (ROOT / "agent").glob("*/__init__.py")}
    assert rooms <= {path for top, path in named if top == "agent"}

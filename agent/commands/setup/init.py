"""`handeye init`: files to start from, for an environment that nobody here knows."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

if TYPE_CHECKING:
    from agent.commands.init_files import Files


@dataclass(frozen=True)
class Init:
    """A task's YAML, a config for `pretrain` and one for `improve`, for any id of Gymnasium, from random play of it.

    What cannot be known is a guess, and says so.
    """

    id: str  # of Gymnasium's registry, or MODULE:ID of a package, such as gymnasium_robotics:FetchReach-v3
    out: Positional[Path] = (
        Path()
    )  # a folder for NAME.yaml, NAME_seed.yaml and NAME_loop.yaml; NAME.sees.yaml with measured ranges
    name: str | None = None  # of the files; by default made of the id
    kwargs: str = "{}"  # of the environment, as YAML: "{use_lidar: false}"
    overwrite: bool = False  # replace files that `handeye init` wrote

    def run(self) -> None:
        """Raises UserError, before anything is written, for an id that cannot be played, and for files that exist."""
        from agent.commands.init_files import check_free, files, name_of, paths
        from agent.commands.outputs import folder
        from agent.organise import durable
        from agent.record.console import console
        from envs.errors import UserError
        from envs.survey.play import survey

        out, name = folder(self.out), name_of(self.id if self.name is None else self.name)
        if not name:
            raise UserError(f"name {self.name or self.id!r}; valid: letters and digits")
        kwargs, places = _mapping(self.kwargs), paths(out, name)
        check_free(places, self.overwrite)
        with console.status(f"random play of {self.id}"):
            written = files(survey(self.id, kwargs), name, places)
        durable.make(out)
        for path, text in written.texts.items():
            durable.write(path, text)
        _tell(written)


def _mapping(text: str) -> dict[str, Any]:
    """Raises UserError for what is no YAML mapping from names to values."""
    import yaml

    from envs.errors import UserError, shown

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UserError(f"--kwargs {shown(text)}; valid: a YAML mapping, such as '{{use_lidar: false}}'")
    return value


def _tell(written: "Files") -> None:
    from agent.record.console import console

    for line in written.notes:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    task, seed, loop, *_ = written.texts
    for what, line in (
        ("what is in the way", f"handeye try {task}"),
        ("a seed policy", f"handeye pretrain {seed}"),
        ("the loop", f"handeye improve {loop}"),
    ):
        console.print(f"{line:<60} # {what}", markup=False, highlight=False, soft_wrap=True)

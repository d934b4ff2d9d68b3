"""Which recorded episodes are exported: those of some stages of a run, or of a folder that `handeye rollout` wrote.

A run is read by its journal: what a stage wrote counts once the stage is done. Nothing is written into the run, so that
one that is still going on can be exported too.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import pyarrow.parquet as pq

from agent.config.run import Select
from agent.organise import selection
from agent.organise.episode import Episode
from agent.organise.store import EpisodeStore
from agent.record.export.choices import Only
from agent.record.run.journal import FILE as JOURNAL
from agent.record.run.journal import Journal
from envs.errors import UserError, unknown
from envs.validation import checked

KINDS = {
    "episodes": "practice",
    "archived": "practice",
    "relabelled": "relabelled",
    "branches": "branches",
    "gate/incumbent": "gate",
    "gate/candidate": "gate",
}  # store in a round's folder -> what `--only` calls it
CERTIFIED = ("practice", "branches")  # what `collect.certify` is about
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Wanted:
    """only: some of `Only`; without a stage among them practice is meant. round: None for all. tasks, and instructions
    of an episode's first step: empty for all."""

    only: tuple[Only, ...] = ()
    round: int | None = None
    tasks: tuple[str, ...] = ()
    instructions: tuple[str, ...] = ()

    @property
    def stages(self) -> tuple[str, ...]:
        """Which stages' episodes."""
        return tuple(name for name in get_args(Only) if name in self.only and name != "successes") or ("practice",)

    def takes(self, task: str, instruction: str, success: bool) -> bool:
        """Whether an episode of a wanted stage is wanted."""
        named = task in (self.tasks or (task,)) and instruction in (self.instructions or (instruction,))
        return named and (success or "successes" not in self.only)


@dataclass(frozen=True)
class Source:
    """A folder of episodes. name: its path in the run, such as `round_001/episodes`. stage: of `Only`, empty for a
    folder of `handeye rollout`. round: 0 for held-out episodes and for no run's."""

    folder: Path
    name: str
    stage: str = ""
    round: int = 0


@dataclass(frozen=True)
class Recorded:
    """An episode that is exported. certified: whether it has a replay certificate."""

    episode: Episode
    source: Source
    certified: bool


@dataclass
class Tally:
    """Counts of what was exported. episodes, successes, steps: by task. sources: episodes by the source's name. broken:
    episodes that were left out, which are no failures."""

    episodes: Counter[str] = field(default_factory=Counter)
    successes: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    broken: int = 0

    def add(self, recorded: Recorded) -> None:
        episode = recorded.episode
        self.episodes[episode.task] += 1
        self.successes[episode.task] += episode.success
        self.steps[episode.task] += len(episode.steps)
        self.sources[recorded.source.name] += 1


@dataclass(frozen=True)
class Census:
    """What a look at the episodes without their frames tells. tasks, instructions: of wanted episodes. episodes, steps:
    wanted ones. state: the words of the proprioception with `{}` for each number, where all steps have the same; else
    empty. size: [bytes] of the files."""

    tasks: tuple[str, ...]
    instructions: tuple[str, ...]
    episodes: int
    steps: int
    state: str
    size: int


class Recording:
    """The episodes of a folder.

    begun: the first line of the run's journal: config, versions, provenance; empty for a folder of `handeye rollout`.
    """

    def __init__(self, folder: Path, wanted: Wanted):
        """Raises UserError for a folder without episodes, for a stage that the run does not have, a round that it did
        not begin, and a task or an instruction that it did not play."""
        self.folder, self.wanted, self.tally = folder, wanted, Tally()
        self.begun: Mapping[str, Any] = {}
        self.sources = self._of_run() if (folder / JOURNAL).is_file() else self._of_rollout()
        self.census = _census(self.sources, wanted)
        for what, names in (("tasks", wanted.tasks), ("instructions", wanted.instructions)):
            for name in names:
                if name not in getattr(self.census, what):
                    there = getattr(_census(self.sources, replace(wanted, **{what: ()})), what)
                    raise unknown(f"{what[:-1]} of {str(folder)!r}", name, there)
        if not self.census.episodes:
            what = " ".join(wanted.only) or "practice"
            raise UserError(f"{str(folder)!r} has no episodes of {what!r} that are whole; valid: another --only")

    def __iter__(self) -> Iterator[Recorded]:
        """The wanted episodes that are not broken, in their order, a part of the store in memory at a time. Counts them
        in `tally`. Raises DamagedError for a damaged part."""
        self.tally = Tally()
        for source in self.sources:
            is_certified = self._certificates(source)
            for episode in EpisodeStore(source.folder):
                if episode.ending == "broken" or not episode.steps:
                    self.tally.broken += episode.task in (self.wanted.tasks or (episode.task,))
                elif self.wanted.takes(episode.task, episode.steps[0].observation.instruction, episode.success):
                    recorded = Recorded(episode, source, is_certified(episode))
                    self.tally.add(recorded)
                    yield recorded

    def _of_run(self) -> list[Source]:
        journal, wanted = Journal(self.folder), self.wanted
        self.begun = journal.begun
        if wanted.round and "heldout" in wanted.stages:
            raise UserError(
                "--round with --only heldout, which is played before and after all rounds; valid: one of them"
            )
        found = [_source(self.folder, output, done.round) for done in journal.done for output in done.outputs]
        rounds = sorted({source.round for source in filter(None, found) if source.round})
        if wanted.round is not None and wanted.round not in rounds:
            raise unknown(f"round of {str(self.folder)!r}", wanted.round, map(str, rounds))
        chosen = {s.name: s for s in found if s and s.stage in wanted.stages and wanted.round in (None, s.round)}
        return list(chosen.values())

    def _of_rollout(self) -> list[Source]:
        if not EpisodeStore(self.folder).parts():
            raise UserError(f"no episodes in {str(self.folder)!r}; valid: the folder of a run, or of `handeye rollout`")
        if self.wanted.round is not None or set(self.wanted.only) - {"successes"}:
            raise UserError(f"{str(self.folder)!r} is no run; valid: no --round, and no --only but successes")
        return [Source(self.folder, self.folder.name)]

    def _certificates(self, source: Source) -> Callable[[Episode], bool]:
        """Whether an episode that is not broken has a replay certificate, by `collect.certify` of the run."""
        certify = self.begun["config"]["collect"]["certify"] if self.begun else "none"
        if certify == "none" or source.stage not in CERTIFIED:
            return lambda episode: False
        if certify == "all" or source.stage == "branches":
            return lambda episode: True
        kept = self._kept(source.round)
        return lambda episode: _key(episode) in kept

    def _kept(self, number: int) -> set[tuple]:
        """The keys of the round's practice episodes that selection keeps, which are those that were certified."""
        folders = [self.folder / f"round_{number:03d}" / name for name in ("episodes", "archived")]
        select = checked(Select, self.begun["config"]["select"])
        episodes = [episode for folder in folders for episode in EpisodeStore(folder)]
        return set(map(_key, selection.kept(selection.labelled(episodes, select), select)))


def _key(episode: Episode) -> tuple:
    return episode.task, episode.seed, episode.attempt, episode.branched_at


def _source(run: Path, output: str, number: int) -> Source | None:
    """The source that an output of a stage is; None for one without episodes."""
    head, _, rest = output.partition("/")
    stage = "heldout" if head == "heldout" else KINDS.get(re.sub(r"^branches_\d+$", "branches", rest))
    return stage and Source(run / output, output, stage, 0 if stage == "heldout" else number)


def _census(sources: list[Source], wanted: Wanted) -> Census:
    tasks, instructions, words = dict[str, None](), dict[str, None](), set[str]()
    episodes, steps, size, first = 0, 0, 0, ""
    columns = ["task", "instruction", "step", "success", "ending", "proprioception", "answer"]
    for source in sources:
        for path in EpisodeStore(source.folder).parts():
            size += path.stat().st_size
            for row in pq.read_table(path, columns=columns).to_pylist():
                is_last = row["answer"] is None  # the row after an episode's steps
                first = row["instruction"] if row["step"] == 0 and not is_last else first
                if row["ending"] == "broken" or not wanted.takes(row["task"], first, row["success"]):
                    continue
                if is_last:
                    episodes += 1
                    tasks[row["task"]] = instructions[first] = None
                else:
                    steps += 1
                    words.add(NUMBER.sub("{}", row["proprioception"]))
    state = words.pop() if len(words) == 1 else ""
    return Census(tuple(tasks), tuple(instructions), episodes, steps, state if "{}" in state else "", size)

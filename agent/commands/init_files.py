"""The text of the files that `handeye init` writes, and the checks that they load."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import wrap
from typing import Any

import gymnasium as gym

from agent import config
from agent.commands.init_configs import MARK, loop_config, seed_config, typed
from agent.commands.probing import probe
from agent.measure.ladder.exactness import starts
from agent.measure.ladder.playing import Effort
from agent.measure.ladder.rungs import Starts
from agent.measure.statistics import rate
from agent.record.tables import percent
from envs import registry
from envs.declared import forget, ranges, ranges_file, unseen
from envs.errors import UserError
from envs.foreign.making import arguments
from envs.survey.play import MOST_STEPS, Survey
from envs.survey.proposing import Proposal, proposed
from envs.survey.success import Guess, guess, holds
from envs.wrappers import SuccessRule

MEASURED_MARK = "# State words of"  # begins the file with measured ranges, which `handeye sees` writes too
STEPS = 200  # an episode's limit, where none is registered
FAST_HZ = 15.0  # pictures a second from which on one does not tell how things move
MANY = 800  # distinct starts from which on a loop's own numbers of episodes leave enough to practise on
EFFORT = Effort(seconds=5)  # of telling starts apart
WIDTH = 116  # of a comment
MEASURED = 20  # episodes of random play, for the ranges of state words
TYPED = ("_seed", "_loop", ".sees")  # what the configs' names end with


@dataclass(frozen=True)
class Files:
    """texts: path -> text, of the task, the seed config, the loop config, and, if any, measured ranges of state words.
    notes: for the console."""

    texts: Mapping[Path, str]
    notes: tuple[str, ...]


def name_of(env_id: str) -> str:
    """`MountainCarContinuous-v0` -> `mountain_car_continuous`, `module:ALE/Pong-v5` -> `pong`."""
    base = re.split(r"[:/]", env_id)[-1]
    base = re.sub(r"-v\d+$", "", base)
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", base)
    return re.sub(r"\W+", "_", parted).strip("_").lower()


def paths(out: Path, name: str) -> tuple[Path, ...]:
    """Of the task, the seed config, the loop config, and the ranges of state words, which not every task has."""
    return out / f"{name}.yaml", *(out / f"{name}{ending}.yaml" for ending in TYPED)


def check_free(places: tuple[Path, ...], overwrite: bool) -> None:
    """Raises UserError for a file that exists, unless `overwrite` is set and it begins with MARK."""
    for path in places:
        if not path.exists():
            continue
        if not overwrite:
            raise UserError(f"{str(path)!r} exists; valid: another folder or --name, or --overwrite")
        mark = MEASURED_MARK if path.name.endswith(".sees.yaml") else MARK
        if not path.is_file() or not path.read_bytes().startswith(mark.encode()):
            raise UserError(f"{str(path)!r} was not written by handeye init: not overwritten; valid: another --name")


def files(found: Survey, name: str, places: tuple[Path, ...]) -> Files:
    """From what random play showed. Each is loaded and tried from a scratch folder, as the commands do.

    Raises UserError where the task cannot be played.
    """
    task, seed, loop, beside = places
    guessed, keys = guess(found), proposed(found)
    with TemporaryDirectory() as scratch:
        tried = Path(scratch) / task.name
        keys, without = _working(tried, lambda some: _task(found, name, guessed, some), keys, found.cameras)
        texts = {task: _task(found, name, guessed, keys, without)}
        tried.write_text(texts[task])
        chosen = registry.task(str(tried))
        probe(chosen)
        known = starts(chosen, EFFORT, MANY)
        texts |= {
            seed: seed_config(found, name, task, seed, chosen),
            loop: loop_config(found, name, task, loop, known, chosen),
        }
        for path, kind in ((seed, config.Pretrain), (loop, config.Config)):
            there = Path(scratch) / path.name
            there.write_text(texts[path].replace(typed(str(task)), typed(str(tried))))
            config.load(there, kind=kind)
        if (measured := tried.with_name(beside.name)).exists():
            texts[beside] = measured.read_text()
    return Files(texts, tuple(_notes(found, guessed, known, chosen.exact)))


def _working(
    path: Path,
    text: Callable[[Mapping[str, Proposal]], str],
    keys: Mapping[str, Proposal],
    cameras: Sequence[str],
) -> tuple[dict[str, Proposal], list[str]]:
    """The proposed keys with which the task can be played, and a line for each of the others. The ranges of state words
    are measured meanwhile, into a file beside `path`. Raises UserError for a key that is needed."""

    def play(some: Mapping[str, Proposal]) -> None:
        path.write_text(text(some))
        forget()
        if "sees" in some and not ranges.beside(path).exists() and ranges_file(str(path)):
            ranges.write(path, ranges.measured_text(path, unseen(str(path)).with_env(frames=1), None, MEASURED))
        probe(registry.task(str(path)))

    without: list[str] = []
    kept = _first(play, cameras)
    for key, proposal in keys.items():
        try:
            play(kept | {key: proposal})
        except UserError as error:
            if proposal.is_needed:
                raise
            without.append(f"no {key}: {str(error).partition(': ')[2] or error}")
            if key == "sees":
                ranges.beside(path).unlink(missing_ok=True)
        else:
            kept[key] = proposal
    forget()
    return kept, without


def _first(play: Callable[[Mapping[str, Proposal]], None], cameras: Sequence[str]) -> dict[str, Proposal]:
    """What a task needs to be played at all: nothing, `exact: false`, or another camera. Raises UserError where none of
    these helps."""
    try:
        play({})
    except UserError as error:
        refused = error
    else:
        return {}
    cures: list[dict[str, Proposal]] = []
    if "exact: false" in str(refused):
        cures = [{"exact": Proposal(False, "its episodes do not happen again: no certificates, no branches")}]
    elif "show nothing" in str(refused):
        comment = "of the model: that of its own shows nothing that moves"
        cures = [{"camera": Proposal(name, comment)} for name in cameras]
    for cure in cures:
        try:
            play(cure)
        except UserError as error:
            if not ("exact: false" in str(error) or "show nothing" in str(error)):
                raise
        else:
            return cure
    raise refused


# the task ------------------------------------------------------------------------------------------------------------
def _task(
    found: Survey,
    name: str,
    guessed: Guess,
    keys: Mapping[str, Proposal],
    without: Sequence[str] = (),
) -> str:
    """without: lines on what was tried and does not work."""
    lines = [
        f"{MARK}: {found.env_id} as a task, to be edited.",
        *(f"# {line}" for text in _played(found, guessed.rule) for line in wrap(text, WIDTH)),
        f"id: {typed(found.env_id)}",
    ]
    if found.smaller:
        lines += _with(f"kwargs: {typed({**found.kwargs, **found.smaller})}", "a picture of its own size is slow")
    elif found.kwargs:
        lines.append(f"kwargs: {typed(dict(found.kwargs))}")
    lines += [*_instruction(found, name), *_success(guessed)]
    if found.bounds:
        lines.append(f"bounds: {typed(list(map(_plain, found.bounds)))}  # of actions, which have none: a guess")
    if found.max_steps is None:
        lines.append(f"max_steps: {_limit(found)}  # none is registered")
    if found.moves and (found.physical or (found.fps or 0) >= FAST_HZ):
        hz = f", at {found.fps:g} Hz" if found.fps else ""
        lines.append(f"frames: 2  # one picture does not tell how things move{hz}")
    if found.cameras:
        lines += _with(f"# cameras: {typed(list(found.cameras))}", "of the model; each is a picture of its own")
    for key, proposal in keys.items():
        lines += _entry(key, proposal)
    lines += [f"# {part}" for line in without for part in wrap(line, WIDTH)]
    return "\n".join(lines) + "\n"


def _instruction(found: Survey, name: str) -> list[str]:
    if found.instruction_varies:
        return _with(f"instruction: {typed({'of': found.instruction_at})}", f"such as: {found.instruction}")
    if found.instruction:
        return _with(
            f"instruction: {typed(found.instruction)}", f"as {found.instruction_at} of the environment says it"
        )
    return _with(f"instruction: play {name.replace('_', ' ')}", "a guess by the name: say what is to be done")


def _played(found: Survey, rule: SuccessRule) -> list[str]:
    """What random play showed, a line each."""
    n, ended = len(found.episodes), sum(e.terminated for e in found.episodes)
    (low, high), (least, most), (shortest, longest) = found.rewards, found.returns, found.lengths
    reached = percent(rate([holds(rule, e) for e in found.episodes]))
    lines = [
        f"Random play, {n} episodes: {reached} succeed by the rule below; {shortest} to {longest} steps, {ended} ended "
        f"by the environment; rewards {low:.4g} to {high:.4g}, returns {least:.4g} to {most:.4g}.",
        f"Actions {_short(found.action_space)}, observation {_short(found.observation_space)}.",
    ]
    keys = ", ".join(found.keys) or "none"
    lines.append(f"Keys of info: {keys if len(keys) < 100 else keys[:100] + ' ...'}.")
    if found.size and found.size[0] != found.size[1]:
        lines.append(f"Its picture is {found.size[1]} x {found.size[0]} px, with margins to a square (fit: letterbox).")
    if found.broken:
        lines.append(f"Some episodes broke; the first: {' '.join(found.broken.split())[:200]}")
    return lines


def _success(guessed: Guess) -> list[str]:
    lines = [] if guessed.is_sure else ["# No sign of success was found in random play: the next line is a guess."]
    lines += _with(f"success: {typed(_rule(guessed.rule))}", guessed.why)
    return lines + [line for rule, why in guessed.others for line in _with(f"# success: {typed(_rule(rule))}", why)]


def _with(line: str, comment: str) -> list[str]:
    """The line and its comment: beside it, or before it where that would be too long."""
    whole = f"{line}  # {comment}"
    return [whole] if len(whole) <= WIDTH else [f"# {part}" for part in wrap(comment, WIDTH)] + [line]


def _entry(key: str, proposal: Proposal) -> list[str]:
    """A key of the task's file: in one line, or, of parts that are too long for it, a line for each."""
    whole = f"{key}: {typed(proposal.value)}"
    if len(whole) <= WIDTH or not isinstance(proposal.value, dict):
        return _with(whole, proposal.comment)
    parts = [f"  {name}: {typed(value)}" for name, value in proposal.value.items()]
    return [*(f"# {part}" for part in wrap(proposal.comment, WIDTH)), f"{key}:", *parts]


def _rule(rule: SuccessRule) -> dict[str, Any]:
    bounds = {"at_least": rule.at_least, "at_most": rule.at_most}
    return {"of": rule.of} | {key: _plain(bound) for key, bound in bounds.items() if isfinite(bound)}


def _plain(number: float) -> float | int:
    return int(number) if float(number).is_integer() else float(number)


def _limit(found: Survey) -> int:
    """Steps: those after which the environment itself truncated, else twice the longest that ended, at least STEPS."""
    if cut := [len(e.rewards) for e in found.episodes if e.truncated]:
        return max(cut)
    ended = [len(e.rewards) for e in found.episodes if e.terminated]
    return min(MOST_STEPS, max(STEPS, 2 * max(ended, default=0)))


def _notes(found: Survey, guessed: Guess, known: Starts, exact: bool) -> list[str]:
    rule = typed(_rule(guessed.rule))
    sure = "success" if guessed.is_sure else "success is a guess, to be looked at"
    lines = [f"{sure}: {rule} ({guessed.why})"]
    if found.max_steps is None:
        lines.append(f"no time limit is registered: max_steps: {_limit(found)}")
    if found.bounds:
        lines.append(f"the bounds of actions are a guess: {typed(list(map(_plain, found.bounds)))}")
    if not exact:
        lines.append("its episodes do not happen again (exact: false): without certificates and branches")
    if known.distinct == 1:
        false = ", ".join(name for name, default in arguments(found.env_id).items() if default is False)
        hint = f"kwargs may vary the start{false and f' (false: {false})'}"
        lines.append(f"all seeds begin alike: nothing can be held out, and improve refuses; {hint}")
    if not found.instruction:
        lines.append("the instruction is made of the name: say what is to be done")
    return lines


def _short(space: gym.Space) -> str:
    text = " ".join(str(space).split())
    return text if len(text) <= 80 else f"{text[:80]} ..."

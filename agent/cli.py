"""The `handeye` command. What a command needs is imported when it runs, so that `--help` is quick."""

import os
import re
import sys
from pathlib import Path
from typing import Literal

import tyro

from envs.errors import UserError

# A waiting torch thread must not spin: on a shared CPU that slows single-frame inference tens of times.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

app = tyro.extras.SubcommandApp()


@app.command
def improve(config: tyro.conf.Positional[Path], /, overwrite: bool = False) -> None:
    """Rounds of self-improvement.

    Any key of the config can be given as `--dotted.key value` after its name.

    Args:
        config: a YAML file, such as configs/demo.yaml
        overwrite: replace the run folder if it exists
    """
    from agent.config import load

    settings = load(config, _overrides)
    import torch

    from agent.collect.workers import Workers
    from agent.commands.checks import check_improve
    from agent.loop import improve as run_improve
    from agent.record.rundir import RunDir

    check_improve(settings)
    torch.set_num_threads(settings.threads)
    with Workers(settings.workers) as workers:
        run_improve(settings, RunDir(Path(settings.out), overwrite), workers)


@app.command
def compare(
    config: tyro.conf.Positional[Path], /, seeds: tuple[int, ...] | None = None, against: str | None = None
) -> None:
    """An experiment: a run with some keys changed, arm by arm over several seeds, on the same episodes.

    What was run before is kept: to add a seed or an arm, run it again.

    Args:
        config: a YAML file, such as configs/experiments/branching.yaml
        seeds: instead of the config's
        against: the arm that each is compared with, instead of the first
    """
    from dataclasses import replace

    from agent.config import Comparison, load

    settings = load(config, kind=Comparison)
    settings = replace(settings, seeds=seeds) if seeds else settings
    from agent.measure.compare import compare_arms

    print(compare_arms(settings, Path(settings.out), against))


@app.command(name="eval")
def evaluate(
    task: tyro.conf.Positional[str],
    /,
    policy: str = "policies/seed",
    episodes: int = 100,
    split: str = "heldout",
    temperature: float = 0.0,
    proposals: int = 1,
    revisions: int = 0,
    threshold: float = 0.5,
    seed: int = 0,
    n_envs: int = 64,
) -> None:
    """Success with a 95 % interval.

    Args:
        task: a name from `handeye tasks`
        policy: a checkpoint folder, a .zip of Stable-Baselines3, or one of zero, random, expert
        episodes: how many seeds
        split: practice, gate, heldout, or final, which is recorded: see agent/record/final.py
        temperature: 0 is greedy
        proposals: answers that the critic chooses among
        revisions: how often it answers again, told what is wrong, where the best verdict is below the threshold
        threshold: a verdict from 0 to 1
        seed: of what the policy draws at random
        n_envs: environments in lockstep; the result does not depend on it
    """
    from agent.collect.play import play
    from agent.config import Critic, checked
    from agent.measure.statistics import acted_on, critic_scores, rate, successes
    from agent.record.console import console
    from agent.record.final import record_final
    from agent.record.tables import percent
    from envs import registry
    from envs.starts import distinct

    _at_least(1, episodes=episodes, n_envs=n_envs)
    _at_least(0, seed=seed, temperature=temperature)
    critic = checked(Critic, {"proposals": proposals, "revisions": revisions, "threshold": threshold})
    starts = [(s, 0) for s in distinct(registry.task(task), split, episodes)]
    played = play(task, policy, starts, temperature, critic, n_envs, seed)
    result = rate(successes(played))
    console.print(f"{task}: {percent(result)} of {len(played)} episodes")
    if split == "final":
        console.print(record_final(policy, task, result), soft_wrap=True)
    if proposals > 1 or revisions:
        scores = critic_scores(acted_on(played), played)
        console.print(f"critic: AUROC {scores['auroc']:.2f}, Brier {scores['brier']:.2f}")


@app.command
def audit(
    policy: tyro.conf.Positional[str],
    /,
    tasks: tuple[str, ...] = ("reach", "push", "reach-heldout", "push-heldout"),
    episodes: int = 100,
    beside: tuple[Path, ...] = (),
    proposals: int = 4,
    revisions: int = 0,
    threshold: float = 0.5,
    workers: int = 1,
    json: Path | None = None,
) -> None:
    """What a policy's criticism of itself is worth on held-out episodes.

    Args:
        policy: a checkpoint folder
        tasks: names from `handeye tasks`
        episodes: how many seeds of each task
        beside: checkpoint folders whose episodes it judges too: a good policy leaves few failures to know
        proposals: answers that the critic chooses among
        revisions: how often it answers again, told what is wrong, where the best verdict is below the threshold
        threshold: a verdict from 0 to 1
        workers: processes that play episodes
        json: a file to write all numbers to
    """
    from json import dumps

    from agent.collect.workers import Workers
    from agent.config import Critic, checked
    from agent.measure.audit import audit as run_audit
    from agent.record.console import console
    from agent.record.tables import audit_table
    from envs import registry
    from envs.starts import distinct

    _at_least(1, episodes=episodes, workers=workers)
    _at_least(2, proposals=proposals)
    for name in tasks:
        distinct(registry.task(name), "heldout", episodes)
    critic = checked(Critic, {"proposals": proposals, "revisions": revisions, "threshold": threshold})
    with Workers(workers) as pool:
        results = {name: run_audit(Path(policy), name, episodes, critic, pool, beside) for name in tasks}
    console.print(audit_table(results))
    if json:
        json.write_text(dumps(results, indent=1) + "\n")


@app.command
def rollout(
    task: tyro.conf.Positional[str],
    out: tyro.conf.Positional[Path],
    /,
    policy: str = "policies/seed",
    episodes: int = 100,
    attempts: int = 1,
    split: str = "practice",
    temperature: float = 0.0,
    seed: int = 0,
    n_envs: int = 64,
) -> None:
    """Collect episodes into a folder of Parquet files.

    Args:
        task: a name from `handeye tasks`
        out: the folder; episodes are added to what it holds
        policy: a checkpoint folder, a .zip of Stable-Baselines3, or one of zero, random, expert
        episodes: how many seeds
        attempts: episodes from each seed
        split: practice, gate or heldout
        temperature: 0 is greedy
        seed: of what the policy draws at random
        n_envs: environments in lockstep; the result does not depend on it
    """
    from itertools import product

    from agent.collect.play import play
    from agent.organise.store import EpisodeStore
    from agent.record.console import console
    from envs import registry
    from envs.starts import distinct

    _at_least(1, episodes=episodes, attempts=attempts, n_envs=n_envs)
    _at_least(0, seed=seed, temperature=temperature)
    if out.exists() and not out.is_dir():
        raise UserError(f"{str(out)!r} is a file; valid: a folder, which need not exist")
    starts = list(product(distinct(registry.task(task), split, episodes), range(attempts)))
    played = play(task, policy, starts, temperature, n_envs=n_envs, seed=seed)
    EpisodeStore(out).append(played)
    console.print(f"{sum(e.success for e in played)} of {len(played)} episodes succeeded: {out}", soft_wrap=True)


@app.command
def replay(run: tyro.conf.Positional[Path], /) -> None:
    """Simulate stored episodes again: each must happen as recorded, bit for bit. Exit status 1 where one does not.

    Args:
        run: a run's folder, or any that holds episodes
    """
    from agent.collect.verify import Verifier
    from agent.organise.store import read
    from agent.record.console import bar, console

    parts = sorted(run.rglob("part-*.parquet"))
    if not parts:
        raise UserError(f"no episodes in {str(run)!r}; valid: a run's folder, or one from `handeye rollout`")
    certified, flaws = 0, []
    with Verifier() as verifier:
        for part in parts:
            place = part.relative_to(run)
            try:
                episodes = list(read(part))
            except UserError as error:
                flaws.append(str(error))
                continue
            with bar(str(place.parent), len(episodes)) as progress:
                for e in progress.track(episodes):
                    flaw = verifier.flaw(e)
                    certified += not flaw
                    if flaw:
                        flaws.append(f"{place}: {e.task}, seed {e.seed}, attempt {e.attempt}: {flaw}")
    for flaw in flaws:
        console.print(flaw, soft_wrap=True)
    console.print(f"{certified} episodes certified, {len(flaws)} left out")
    if flaws:
        sys.exit(1)


@app.command
def watch(
    task: tyro.conf.Positional[str],
    out: tyro.conf.Positional[Path],
    /,
    policy: str = "policies/seed",
    against: str | None = None,
    seed: int = 2_500_000,
) -> None:
    """One episode as a film.

    Args:
        task: a name from `handeye tasks`
        out: an .mp4, or a .png of a few moments
        policy: a checkpoint folder, a .zip of Stable-Baselines3, or one of zero, random, expert
        against: another policy, shown below on the same episode
        seed: of the episode
    """
    from agent.collect.play import play
    from agent.measure.statistics import successes
    from agent.record import video

    _at_least(0, seed=seed)
    video.check(out)
    films = []
    for name in (policy, against) if against else (policy,):
        (episode,) = played = play(task, name, [(seed, 0)])
        successes(played)  # raises for a broken one
        films.append(video.film(episode))
        print(f"{name}: {'success' if episode.success else 'failure'} after {len(episode.steps)} steps")
    video.write(out, films)
    print(f"film: {out}")


@app.command
def pretrain(config: tyro.conf.Positional[Path], /, overwrite: bool = False) -> None:
    """The seed policy from nothing: sight from captions, the form of an answer from few demonstrations.

    Args:
        config: a YAML file, such as configs/pretrain.yaml
        overwrite: replace the checkpoint folder if it exists
    """
    from agent.config import Pretrain, load

    settings = load(config, _overrides, Pretrain)
    import torch

    from agent.commands.checks import check_pretrain
    from agent.optimise.pretrain import pretrain as run_pretrain

    check_pretrain(settings)
    torch.set_num_threads(settings.threads)
    print(f"policy   {run_pretrain(settings, overwrite)}")


@app.command
def questions(
    out: tyro.conf.Positional[Path], /, train: int = 12_000, validation: int = 300, test: int = 300, seed: int = 0
) -> None:
    """Questions about scenes of the tabletop, each with its picture: OUT/choices, and OUT/free with numbers to answer.

    Args:
        out: a folder, which does not exist yet
        train: how many of each kind, to practise on
        validation: how many of each kind, for the gate
        test: how many of each kind, for the report
        seed: of what is drawn at random
    """
    from envs.suites.questions.scenes import write

    _at_least(1, train=train, validation=validation, test=test)
    _at_least(0, seed=seed)
    write(out, {"train": train, "val": validation, "test": test}, seed)
    print(f"questions {out / 'choices'}, {out / 'free'}")


@app.command
def baseline(
    task: tyro.conf.Positional[str],
    /,
    algorithm: Literal["ppo", "sac", "dqn", "trpo"] = "ppo",
    observe: Literal["state", "pixels"] = "state",
    steps: int = 100_000,
    n_envs: int = 4,
    seed: int = 0,
    normalize: bool = False,
    params: dict[str, bool | int | float] | None = None,
    out: Path = Path("runs/baseline"),
    episodes: int = 100,
    overwrite: bool = False,
) -> None:
    """Stable-Baselines3 trained on a task, and its success on held-out seeds, the same episodes as of `eval`.

    Args:
        task: a name from `handeye tasks`
        algorithm: ppo; sac for continuous actions; dqn for discrete ones; trpo
        observe: state, the environment's own observation; or pixels, frames and words as every policy is given
        steps: of the environments together
        n_envs: environments it learns from
        seed: of its weights, its exploration and which practice seeds it meets
        normalize: a state and its rewards by their running statistics, with ppo and trpo
        params: arguments of the algorithm's class, name and value by turns: learning_rate 0.01 gamma 0.98
        out: the folder for policy.zip and baseline.json
        episodes: how many held-out seeds
        overwrite: replace the folder if it exists
    """
    from agent.config import Baseline, checked
    from agent.measure.baseline import baseline as run_baseline
    from agent.record.console import console
    from agent.record.tables import percent

    told = {"task": task, "algorithm": algorithm, "observe": observe, "steps": steps, "n_envs": n_envs, "seed": seed}
    told |= {"episodes": episodes, "normalize": normalize, "params": params or {}}
    result = run_baseline(checked(Baseline, told), out, overwrite)["result"]
    console.print(f"{task}: {percent(result)} of {len(result['outcomes'])} episodes")
    console.print(f"policy   {out / 'policy.zip'}", soft_wrap=True)


@app.command
def tasks(
    what: tyro.conf.Positional[Literal["list", "show"]] = "list",
    name: tyro.conf.Positional[str] = "",
    /,
    frame: Path | None = None,
) -> None:
    """What can be run: the list, or what a policy sees of one task and may do.

    Args:
        what: list, or show with a name
        name: from the list, or a YAML file that declares a task
        frame: where to save what is seen of it, as a picture (NAME.png)
    """
    from rich.table import Table

    from agent.record.console import console
    from envs import registry

    if what == "list":
        table = Table("task", "suite", "split", "environment")
        for task in registry.TASKS.values():
            table.add_row(task.name, task.suite, task.split, task.env_id)
        console.print(table)
        return
    import imageio.v3 as iio
    import numpy as np

    from policies.action_codec import codec_for

    task = registry.task(name)
    env = task.make()
    env.reset(seed=0)
    seen = task.observe(env)
    codec, rule, path = codec_for(task), task.success, frame or Path(f"{Path(task.name).stem}.png")
    table = Table.grid(padding=(0, 2))
    for row in (
        ("environment", f"{task.env_id}, {task.suite}, {task.split}"),
        ("instruction", seen.instruction),
        ("proprioception", seen.proprioception or "none"),
        ("frames", " x ".join(map(str, seen.frames.shape))),
        ("answer", "a thought, then an action" if task.thought_regex else "an action"),
        ("action", re.sub(r"\\(\W)", r"\1", codec.action.regex)),
        ("of", f"{env.action_space}" + (f", each {task.repeat} times" if task.repeat > 1 else "")),
        ("success", rule.in_words() if rule else "as the environment tells"),
    ):
        table.add_row(*row)
    console.print(table, markup=False)
    iio.imwrite(path, np.concatenate(list(seen.frames), axis=1))
    print(f"frame    {path}")
    env.close()


@app.command
def doctor() -> None:
    """What this machine can do: versions, cores, a rendered frame."""
    import time

    import torch

    from agent.record.tables import versions
    from envs.registry import TASKS

    for name, number in versions().items():
        print(f"{name:17} {number}")
    print(f"{'cores':17} {os.cpu_count()}, torch uses {torch.get_num_threads()} threads")
    print(f"{'GPU':17} {torch.cuda.get_device_name() if torch.cuda.is_available() else 'none (none is needed)'}")
    env = TASKS["reach"].make()
    env.reset(seed=0)
    env.render()
    started = time.perf_counter()
    for _ in range(50):
        env.render()
    frame_ms = 1000 * (time.perf_counter() - started) / 50
    print(f"{'rendering':17} MUJOCO_GL={os.environ.get('MUJOCO_GL')}, {frame_ms:.1f} ms a frame")
    env.close()


@app.command
def bench(
    parts: tyro.conf.Positional[tuple[Literal["save", "branch", "criticise", "render", "restore"], ...]] = (),
    /,
    policy: str = "policies/seed",
    restores: int = 300,
    json: Path | None = None,
) -> None:
    """Our speed and exactness against a reference, in one run.

    Args:
        parts: what to measure; all, if none is named
        policy: a checkpoint folder
        restores: states to return to, of each environment
        json: a file to write the rows to
    """
    from json import dumps

    from rich.table import Table

    from agent.measure.bench import bench as run_bench
    from agent.record.console import console

    _at_least(1, restores=restores)
    rows = run_bench(Path(policy), restores, parts)
    table = Table("name", "unit", "ours", "reference", "ratio", "what")
    for row in rows:
        numbers = [f"{row[name]:.4g}" for name in ("ours", "reference", "ratio")]
        table.add_row(row["name"], row["unit"], *numbers, row["what"])
    console.print(table)
    if json:
        json.write_text(dumps(rows, indent=1) + "\n")


def _at_least(minimum: int, **values: float) -> None:
    for name, value in values.items():
        if not value >= minimum:  # so that NaN is refused too
            raise UserError(f"{name} = {value}; valid: at least {minimum}")


_overrides: list[str] = []


def main() -> None:
    """Runs a command; a mistake of the user becomes one line and exit status 2."""
    command, rest = sys.argv[1:2], sys.argv[2:]
    if command in (["improve"], ["pretrain"]):
        rest, _overrides[:] = _split_overrides(rest)
    try:
        app.cli(args=command + rest, prog="handeye", description="An embodied agent that teaches itself in simulation.")
    except UserError as error:
        print(f"handeye: error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("handeye: interrupted", file=sys.stderr)
        sys.exit(130)


def _split_overrides(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The command's own arguments, and the config's `--key value` or `--key=value` among them."""
    own, overrides, rest = [], [], iter(arguments)
    for argument in rest:
        if not argument.startswith("--") or argument in ("--overwrite", "--no-overwrite", "--help"):
            own.append(argument)
        else:
            overrides.append(argument)
            if "=" not in argument:
                overrides += [value for value in (next(rest, None),) if value is not None]
    return own, overrides


if __name__ == "__main__":
    main()

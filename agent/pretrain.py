"""The seed policy from nothing: sight from captions, the form of an answer from few demonstrations."""

import hashlib
import json
import random
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from agent.config import Pretrain, Stage
from agent.progress import bar
from agent.report import versions
from agent.rows import Example
from agent.sft import train_sft
from envs import registry
from envs.errors import UserError
from envs.registry import Task
from envs.splits import seeds
from envs.tabletop.words import BIN_WIDTH, DIRECTIONS, binned, direction, say, say_way
from policies import critic, nano, prompt
from policies.action_codec import AnswerCodec, codec_for
from policies.backend_hf import HFBackend


def sight_examples(task: Task, seeds: Sequence[int], questions: int = 2) -> Iterator[list[Example]]:
    """One scene a seed, some way into an expert's episode: a caption, left to right, and questions about it.

    A question names some of what is on the table, in an order of its own: several places for each frame encoded. One
    more asks which way one thing lies from another, one where one would go to be beside a thing. Some scenes hold only
    what the task names: where there is little to tell apart, places are learned first.
    """
    env = task.make()
    for seed in seeds:
        rng = np.random.default_rng(seed)
        env.reset(seed=seed, options={"clutter": bool(rng.random() < 0.6)})
        for _ in range(rng.integers(0, 10)):
            if env.step(task.expert(env)[1])[2]:
                break
        frames, places, gripper = env.render()[None], task.describe(env), env.unwrapped.scene.gripper
        names = sorted(places)
        caption = [say(name, place) for name, place in sorted(places.items(), key=lambda item: item[1][0])]
        examples = [Example(frames, prompt.describe(), "; ".join(caption))]
        for _ in range(questions):
            some = [str(name) for name in rng.permutation(names)[: rng.integers(1, len(names) + 1)]]
            examples.append(Example(frames, prompt.where(some), "; ".join(say(name, places[name]) for name in some)))
        if len(names) > 1:
            start, end = (str(name) for name in rng.choice(names, 2, replace=False))
            way = f"{direction(places[start], places[end])} {say_way(places[start], places[end])}"
            answer = f"{say(start, places[start])}; {say(end, places[end])} {way}"
            examples.append(Example(frames, prompt.which_way(start, end), answer))
        name, side, distance = str(rng.choice(names)), str(rng.choice(list(DIRECTIONS))), int(rng.integers(0, 9))
        goal = binned(places[name]) + distance * BIN_WIDTH * np.array(DIRECTIONS[side])
        answer = f"{say(name, places[name])}; {say('go', goal)} {say_way(gripper, goal)}"
        question = prompt.beside(name, distance, side, task.proprioception(env))
        yield [*examples, Example(frames, question, answer)]
    env.close()


def demonstrations(task: Task, codec: AnswerCodec, seeds: Sequence[int]) -> Iterator[Example]:
    """Every step of the expert's episodes, one a seed: what it sees, where it heads, how it moves."""
    env = task.make()
    for seed in seeds:
        env.reset(seed=seed)
        ended = False
        while not ended:
            thought, action = task.expert(env)
            observation = task.observe(env)
            answer = codec.encode(thought, action)
            yield Example(observation.frames, prompt.act(observation), answer)
            _, _, terminated, truncated, _ = env.step(codec.decode(answer)[1])
            ended = terminated or truncated
    env.close()


def pretrain(config: Pretrain, overwrite: bool = False) -> Path:
    """Make the seed policy's checkpoint; `pretrain.json` beside its weights says how, and their hash.

    Raises UserError for an existing folder, unless it may be overwritten.
    """
    out = Path(config.out)
    if out.exists() and not overwrite:
        raise UserError(f"checkpoint folder {str(out)!r} exists; valid: another --out, or --overwrite")
    if out.exists() and not (out / "config.json").is_file():
        raise UserError(f"{str(out)!r} is no checkpoint folder (no config.json in it): not overwritten")
    tasks = [registry.task(name) for name in config.tasks]
    model, processor = nano.build(words(tasks), config.seed)
    with TemporaryDirectory() as scratch:
        for stage in ("sight", "form"):
            settings: Stage = getattr(config, stage)
            rows = []
            for task in tasks:
                with bar(f"{stage}: scenes of {task.name}", settings.scenes) as progress:
                    scenes = seeds("practice", settings.scenes, settings.first_scene)
                    for examples in progress.track(sight_examples(task, scenes, settings.questions)):
                        rows += examples
                n = settings.demonstrations.get(task.name, 0)
                shown = list(demonstrations(task, codec_for(task), seeds("practice", n, settings.first_demonstration)))
                rows += shown * settings.repeats
            random.Random(config.seed).shuffle(rows)
            with bar(f"{stage}: {len(rows)} rows") as progress:
                train_sft(model, processor, rows, Path(scratch), {"seed": config.seed} | settings.sft, [progress])
        fresh = out.with_name(out.name + ".tmp")
        HFBackend(model, processor).save(fresh)
    weights = hashlib.sha256((fresh / "model.safetensors").read_bytes()).hexdigest()
    made = {"command": "handeye pretrain", "config": asdict(config), "versions": versions(), "sha256": weights}
    (fresh / "pretrain.json").write_text(json.dumps(made, indent=1) + "\n")
    if out.exists():
        shutil.rmtree(out)
    fresh.rename(out)
    return out


def words(tasks: Iterable[Task]) -> tuple[str, ...]:
    """What the tokenizer must know as whole words: of the tasks, of their actions, of the questions."""
    actions = {word for task in tasks for word in codec_for(task).action.words}
    return (*registry.vocabulary(), *sorted(actions), "move", *prompt.WORDS, *critic.VERDICTS)

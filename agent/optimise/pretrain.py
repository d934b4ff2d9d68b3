"""A seed policy, by SFT on captions, few demonstrations, and critiques of its own answers.

It starts from random weights of the embedded model, or from any checkpoint: a pretrained model needs no captions, and
is trained with adapters where `model.lora` says so.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple

import numpy as np

from agent.collect.rollout import rollout
from agent.collect.starts import pretraining_seeds
from agent.config import Pretrain, Tie
from agent.optimise.recorded import is_recorded, recorded_examples
from agent.optimise.sft import train_sft
from agent.optimise.unbroken import from_each
from agent.optimise.unfinished import Unfinished
from agent.organise.critiques import criticised, ending
from agent.organise.episode import Episode
from agent.organise.outcome import Outcome, outcome
from agent.organise.rows import Example
from agent.organise.vocabulary import words
from agent.record import ownership
from agent.record.console import bar
from agent.record.provenance import declared_tasks, source, versions, weights_sha256
from agent.record.tracking import TrackedJob
from agent.record.tracking.beside import tracked
from agent.record.tracking.training import TrackTraining
from envs import registry
from envs.errors import UserError
from envs.observation import Observation
from envs.snapshot import Restorable, Snapshot
from envs.task import Task
from policies.action_codec import AnswerCodec, action_of, codec_for, thought_of
from policies.backend import Request
from policies.backends import nano
from policies.backends.huggingface import HFBackend
from policies.backends.image_size import resolve_image_size
from policies.backends.loading import load_trainable, place
from policies.base import find_policy
from policies.baselines import with_expert
from policies.dialect import TERSE, Dialect, dialect_for
from policies.mllm import MLLMPolicy

SCENES_AT_ONCE = 64  # scenes whose prompts are prefilled as one batch
OWN = 3  # sampled answers of a critic's scene that are imitated, good or not, so that acting stays as it is
ENDS = 4  # endings of the expert, from the start of each critic's scene
ASTRAY = 0.3  # share of random actions on the way to a scene: states that a policy meets after mistakes


def caption_examples(
    task: Task,
    seeds: Sequence[int],
    questions: int = 2,
    instructions: bool = False,
    wander: int = 10,
    dialect: Dialect = TERSE,
) -> Iterator[list[Example]]:
    """Captions and questions about one scene per seed, answered from the true state; the caption comes first.

    wander: a scene lies fewer than these steps into an expert's episode. questions: about how many, beside the caption.
    instructions: also questions in the words of an instruction.
    """

    def scene(env: Restorable, seed: int) -> list[Example]:
        rng = np.random.default_rng([seed, 1])  # not the environment's own stream, which `seed` alone would repeat
        env.reset(seed=seed, options=task.teacher.captions.scenes(rng))
        _wander(task, env, rng, wander)
        frames = task.observe(env).packed_frames()
        answered = task.teacher.captions.ask(env, rng, questions, instructions)
        return [Example(frames, dialect.ask(question, len(frames)), answer) for question, answer in answered]

    yield from from_each(task, seeds, scene)


def demonstrations(
    task: Task, codec: AnswerCodec, seeds: Sequence[int], disturbed: float = 0.0, dialect: Dialect = TERSE
) -> Iterator[Example]:
    """Every step of the expert's successes, one episode per seed: the observation, the expert's thought and action.

    disturbed: share of the steps at which a random action is taken instead of the expert's, so that the demonstrations
    show recoveries (Laskey et al., 2017, "DART: Noise Injection for Robust Imitation Learning").
    """

    def episode(env: Restorable, seed: int) -> list[Example]:
        rng = np.random.default_rng([seed, 4])
        env.reset(seed=seed)
        env.action_space.seed(int(rng.integers(2**31)))
        shown, ended = [], False
        while not ended:
            thought, action = task.teacher.expert(env)
            observation = task.observe(env)
            answer = codec.encode(thought, action)
            shown.append(Example(observation.packed_frames(), dialect.act(observation), answer))
            taken = env.action_space.sample() if rng.random() < disturbed else codec.decode(answer)[1]
            _, _, terminated, truncated, info = env.step(taken)
            ended = terminated or truncated
        return shown if info["success"] else []

    yield from chain.from_iterable(from_each(task, seeds, episode))


def critic_examples(task: Task, backend: HFBackend, seeds: Sequence[int], answers: int = 6) -> Iterator[list[Example]]:
    """Examples for the critic at one scene per seed, some steps into an expert's episode.

    Answers: the policy's greedy answer and `answers` sampled ones are each tried, and the expert acts to the end. An
    answer is labelled good where success comes as soon as with the expert alone. The expert's own answers are not
    shown: thousands of them would be demonstrations. Endings: see `_endings`. Acting: OWN of the sampled answers are
    imitated, so that learning to criticise does not change how the policy acts.
    """
    env, codec, dialect = task.make(), codec_for(task), _dialect(backend, task)
    policy = MLLMPolicy(backend, codec, temperature=1.0, dialect=dialect)
    for i in range(0, len(seeds), SCENES_AT_ONCE):
        some, moments = seeds[i : i + SCENES_AT_ONCE], []
        played = rollout(task, policy, [(seed, 0) for seed in some], SCENES_AT_ONCE)
        for seed, episode in zip(some, played, strict=True):
            env.reset(seed=seed)
            gone = _wander(task, env, np.random.default_rng([seed, 2]))
            if gone is not None:
                moments.append((episode, Scene(env.snapshot(), task.horizon - gone), task.observe(env)))
        prefilled = backend.prefill([Request(o.frames, dialect.act(o)) for *_, o in moments])
        draws = [range(100 * e.seed, 100 * e.seed + 1 + answers) for e, *_ in moments]
        drawn = prefilled.generate(codec.regex, [0.0] + [1.0] * answers, draws)
        for (episode, scene, observation), (greedy, *others) in zip(moments, drawn, strict=True):
            alike = {action_of(answer): answer for answer in (greedy, *others)}
            tried = [(answer, _outcome(task, env, scene, answer)) for answer in alike.values()]
            best = _outcome(task, env, scene)
            rng = np.random.default_rng([episode.seed, 3])
            ends = [ending(*end, dialect) for end in _endings(task, env, episode, rng)]
            observation = observation.packed()
            own = [Example(observation.packed_frames(), dialect.act(observation), answer) for answer in others[:OWN]]
            rated = tried, Tie(), None, rng, 2, best
            judged = criticised(codec, observation, thought_of(greedy), *rated, again=False, dialect=dialect)
            yield judged + ends + own
    env.close()


def _dialect(backend: HFBackend, task: Task) -> Dialect:
    """As the policy will be asked about the registered task, whose expert may be another than the one that teaches."""
    return dialect_for(backend.settings, backend.template, registry.task(task.name))


def _wander(task: Task, env: Restorable, rng: np.random.Generator, steps: int = 10) -> int | None:
    """Take fewer than `steps` steps, the expert's, with a share ASTRAY of random ones; all random without an expert.

    Returns the number of steps, or None where the episode ended.
    """
    env.action_space.seed(int(rng.integers(2**31)))
    taken = int(rng.integers(0, steps))
    for _ in range(taken):
        astray = rng.random() < ASTRAY or not task.teacher.expert
        _, _, terminated, truncated, _ = env.step(env.action_space.sample() if astray else task.teacher.expert(env)[1])
        if terminated or truncated:
            return None
    return taken


class Scene(NamedTuple):
    """A state some steps into an episode. left: decisions until the horizon."""

    snapshot: Snapshot
    left: int


def _outcome(task: Task, env: Restorable, scene: Scene, answer: str = "") -> Outcome:
    """The outcome of an answer in a scene, followed by the expert; without an answer, of the expert alone."""
    env.restore(scene.snapshot)
    first = codec_for(task).decode(answer)[1] if answer else None
    success, later = _follow(env, lambda: task.teacher.expert(env)[1], first)
    return outcome(success, later, scene.left)


def _endings(
    task: Task, env: Restorable, episode: Episode, rng: np.random.Generator
) -> Iterator[tuple[Observation, str, bool]]:
    """Labelled endings from the start of the policy's episode: first and last frame, their words, whether it is done.

    One is that of the episode itself. ENDS times, one is that of the expert after random steps, and one is an ending
    that is not done: the expert is given a wrong goal position, or the instruction changes (`task.Endings.misled`).
    """
    teacher, first = task.teacher.endings, episode.steps[0].observation

    def end() -> tuple[Observation, str, bool]:
        return task.observe(env).since(first), teacher.conclude(env), teacher.is_done(env)

    env.reset(seed=episode.seed)
    for step in episode.steps:
        env.step(step.decision.action)
    yield end()
    for _ in range(ENDS):
        env.reset(seed=episode.seed)
        if _wander(task, env, rng) is not None:
            _follow(env, lambda: task.teacher.expert(env)[1])
        yield end()
        if misled := teacher.misled(env, rng):
            env.reset(seed=episode.seed)
            _follow(env, lambda misled=misled: misled(env))
        if not teacher.is_done(env):
            yield end()


def _follow(env: Restorable, act: Callable[[], np.ndarray], first: np.ndarray | None = None) -> tuple[bool, int]:
    """Act to the end of the episode, with `first` as the first action where it is given.

    Returns success, and the number of steps after the first.
    """
    for steps in count():
        action = act() if steps or first is None else first
        _, _, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            return bool(info["success"]), steps


def pretrain(config: Pretrain, overwrite: bool = False, resume: bool = False) -> Path:
    """Train a seed policy stage by stage into the folder `config.out`; `pretrain.json` there holds its provenance,
    and of each stage the rows, their mean loss [nats a token] and the seconds of training.

    Until the last stage is finished, `<out>.tmp/STAGE` holds the policy after the last finished one, which may serve as
    a `start`. resume: go on from there, and from the checkpoints of the stage at hand, as if undisturbed.
    Raises UserError for an existing folder, unless it may be overwritten, a missing start, and as `Unfinished` does;
    UnhealthyError for a stage whose training gives no policy.
    """
    out = Path(config.out)
    ownership.check_replaceable(out, overwrite, "checkpoint")
    tasks = _taught(config)
    start = find_policy(config.start) if config.start else None
    provenance = {"source": source(), "start": start and weights_sha256(start), "tasks": declared_tasks(config.tasks)}
    told = {"config": asdict(config), "versions": versions(), "provenance": provenance}
    unfinished = Unfinished(out, told, resume, overwrite)
    if unfinished.newest:
        backend = load_trainable(unfinished.newest, config.model, config.seed)
    else:
        backend = seed_policy(config, tasks)
    if image_size := resolve_image_size(backend.settings.image_size, backend.processor):
        tasks = _taught(config, image_size)
    tags = tuple(Path(name).stem for name in config.tasks)
    job = TrackedJob("pretrain", "handeye pretrain CONFIG, with the config of this run", tags)
    with unfinished, tracked(out, config.tracking, asdict(config), job) as tracker:
        for stage, settings in config.stages.items():
            if stage in unfinished.stages:
                continue
            rows = []
            for task in tasks:
                n = settings.scenes_of(task.name) if task.teacher.captions else 0
                scenes = pretraining_seeds(task, n, settings.first_scene)
                with bar(f"{stage}: scenes of {task.name}", len(scenes)) as progress:
                    asked = settings.questions, settings.instructions, settings.wander, _dialect(backend, task)
                    for examples in progress.track(caption_examples(task, scenes, *asked)):
                        rows += examples
                n = settings.demonstrations.get(task.name, 0)
                starts = pretraining_seeds(task, n, settings.first_demonstration)
                dialect = _dialect(backend, task)
                if is_recorded(task):
                    shown = recorded_examples(task, n, dialect) if n else ()
                else:
                    shown = demonstrations(task, codec_for(task), starts, settings.disturbed, dialect)
                rows += list(shown) * settings.repeats
                if settings.critiques:
                    with bar(f"{stage}: critiques of {task.name}", settings.critiques) as progress:
                        scenes = pretraining_seeds(task, settings.critiques, settings.first_critique)
                        for examples in progress.track(critic_examples(task, backend, scenes)):
                            rows += examples
            if not rows:
                raise UserError(
                    f"stages.{stage} has no rows: no demonstration succeeded; valid: an expert that does, or scenes"
                )
            random.Random(config.seed).shuffle(rows)
            with bar(f"{stage}: {len(rows)} rows") as progress:
                options = {"seed": config.seed} | settings.sft
                section = f"stages.{stage}.sft"
                listeners = [progress, *([TrackTraining(tracker, "sft")] if tracker else [])]
                trained = backend.model, backend.processor, rows, unfinished.training, options, listeners, section
                metrics = train_sft(*trained)
            measured = {"mean_loss": metrics["train_loss"], "train_s": metrics["train_runtime"]}
            backend.model.eval()  # the next stage may ask it
            unfinished.keep(stage, backend, {"rows": len(rows)} | measured)
        stages, sha256 = unfinished.stages, unfinished.stages[stage]["sha256"]
        unfinished.publish({"command": "handeye pretrain"} | told | {"stages": stages, "sha256": sha256})
    return out


def _taught(config: Pretrain, image_size: int | None = None) -> list[Task]:
    """The tasks with their experts. Raises UserError for an expert that acts on pixels of another size."""
    return [with_expert(registry.task(name, image_size), config.experts.get(name)) for name in config.tasks]


def seed_policy(config: Pretrain, tasks: Iterable[Task]) -> HFBackend:
    """The policy before the first stage: the `start`, with adapters where `model.lora` asks for them, or random weights
    of the embedded model. Raises UserError for a missing start."""
    if not config.start:
        model, processor = nano.build(words(tasks), config.seed)
        return HFBackend(place(model, config.model), processor, config.model)
    backend = load_trainable(find_policy(config.start), config.model, config.seed)
    if not config.new_words:
        return backend
    more = nano.add_words(backend.model, backend.processor, words(tasks), config.seed)
    return HFBackend(backend.model, more, backend.settings)

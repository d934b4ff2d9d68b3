"""What a task costs: time, memory, tokens."""

import gc
import time
from contextlib import closing
from typing import Any

import numpy as np
from PIL import Image

from agent.collect.room import resident
from agent.config.run import STATM
from agent.measure.ladder.playing import Effort, spread
from agent.measure.ladder.rungs import Memory, Times, Tokens
from agent.organise.vocabulary import words
from envs.errors import UserError
from envs.task import Task
from envs.wrappers import pictures
from policies import prompt
from policies.action_codec import TextCodec, codec_for
from policies.baselines import RandomPolicy

TIMED = 30  # steps and frames
MORE = 3  # environments whose memory is measured, beside one that was made before
MB = 10**6


def times(task: Task, effort: Effort) -> Times:
    """Medians over a few resets, and steps and frames of random play."""
    ends = time.monotonic() + effort.seconds
    policy, rng = RandomPolicy(codec_for(task).action.space), np.random.default_rng(0)
    resets, steps, frames = [], [], []
    with closing(task.with_env(frames=1).make()) as env:
        env.reset(seed=0)
        pictures(env)  # the first makes what is drawn with
        ended = True
        while len(steps) < TIMED and not (steps and time.monotonic() > ends):
            if ended:
                started = time.perf_counter()
                env.reset(seed=len(resets))
                resets.append(1000 * (time.perf_counter() - started))
            action = policy.act([None], [rng])[0].action
            started = time.perf_counter()
            _, _, terminated, truncated, _ = env.step(action)
            stepped = time.perf_counter()
            pictures(env)
            steps.append(1000 * (stepped - started))
            frames.append(1000 * (time.perf_counter() - stepped))
            ended = terminated or truncated
    return Times(*(spread(some)[1] for some in (resets, steps, frames)))


def memory(task: Task, effort: Effort) -> Memory:
    """Resident memory that further environments add, each reset and looked at once. Raises UserError without /proc."""
    if not STATM.exists():
        raise UserError("the memory of a process is read from /proc, which this platform lacks; valid: Linux")
    made = [_opened(task)]
    try:
        before, began = _resident(), time.monotonic()
        while len(made) <= MORE and (len(made) == 1 or time.monotonic() - began < effort.seconds):
            made.append(_opened(task))
        return Memory(max(0.0, (_resident() - before) / (len(made) - 1) / MB))
    finally:
        for env in made:
            env.close()


def _opened(task: Task) -> Any:
    env = task.make()
    env.reset(seed=0)
    task.observe(env)
    return env


def _resident() -> int:
    gc.collect()
    return resident()


def tokens(task: Task, effort: Effort) -> Tokens:
    """Of the first observation and of one answer, with the task's own thought where answers have one."""
    from policies.backends import nano  # loads torch, which nothing else here needs

    codec = codec_for(task)
    with closing(task.make()) as env:
        env.reset(seed=0)
        observation = task.observe(env)
        drawn = RandomPolicy(codec.action.space).act([None], [np.random.default_rng(0)])[0].action
        thought = task.teacher.thought(env) if task.teacher.thought and task.language.thought_regex else ""
    said = codec.action.encode("1" if isinstance(codec.action, TextCodec) else drawn)
    processor = nano.build_processor(words([task]))
    text = processor.apply_chat_template(prompt.act(observation), add_generation_prompt=True)
    images = [Image.fromarray(frame).resize((nano.IMAGE_SIZE,) * 2) for frame in observation.frames]
    read = processor(text=[text], images=[images])["input_ids"][0]
    answer = processor.tokenizer(f"{thought}; {said}" if thought else said)["input_ids"]
    return Tokens(len(read), len(answer), nano.POSITIONS)

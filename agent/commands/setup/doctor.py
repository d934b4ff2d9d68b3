"""`handeye doctor`: what this machine can do, and what a policy's model needs."""

import os
import time
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from policies.backends.requirements import Shape, Work

FRAMES = 50  # rendered, to be timed
GIB = 2**30
USABLE = 7 / 8  # of a device's memory: estimates, the CUDA context and fragmentation take the rest


@dataclass(frozen=True)
class Doctor:
    """What this machine can do: versions, cores, a rendered frame; with --policy, what that needs to act and to train.

    The model's config is enough: no weights are read.
    """

    policy: str | None = None
    """a checkpoint's folder, `seed`, a model on a hub; `known`: a table of the models that configs/gpu is for"""
    rows: int = 128  # decisions at once
    batch: int = 8  # rows of a training step; a preference pair is two
    tokens: int = 1024  # of a row: prompt with images and example turns, and answer
    image_tokens: int | None = None  # of a row's image; default: of one frame where the model is known, else 64
    r: int = 16  # rank of LoRA
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"  # auto: float32 without a GPU

    def run(self) -> None:
        """Raises UserError for an unknown policy, and, saying what to install, where no frame can be rendered."""
        from agent.commands.arguments import at_least

        sizes = {"rows": self.rows, "batch": self.batch, "tokens": self.tokens, "r": self.r}
        at_least(1, **sizes, image_tokens=1 if self.image_tokens is None else self.image_tokens)
        if self.policy == "known":
            print(table(self))
        elif self.policy:
            print("\n".join(needs_of(self, self.policy)))
            print(verdict(self, self.policy))
        else:
            machine()


def machine() -> None:
    """Prints versions, cores and the time of a rendered frame."""
    import torch

    from agent.record.provenance import versions
    from envs.registry import TASKS

    for name, number in versions().items():
        print(f"{name:17} {number}")
    print(f"{'cores':17} {os.cpu_count()}, torch uses {torch.get_num_threads()} threads")
    print(f"{'GPU':17} {torch.cuda.get_device_name() if torch.cuda.is_available() else 'none (none is needed)'}")
    env = TASKS["reach"].make()
    env.reset(seed=0)
    env.render()
    started = time.perf_counter()
    for _ in range(FRAMES):
        env.render()
    frame_ms = 1000 * (time.perf_counter() - started) / FRAMES
    print(f"{'rendering':17} MUJOCO_GL={os.environ.get('MUJOCO_GL')}, {frame_ms:.1f} ms a frame")
    env.close()


def work_of(asked: Doctor, policy: str) -> "Work":
    """The work that the options ask for, of this policy."""
    import torch

    from policies.backends.requirements import Work, known

    image_tokens = asked.image_tokens or (known()[policy].image_tokens if policy in known() else 64)
    dtype = asked.dtype
    if dtype == "auto":
        dtype = "bfloat16" if torch.cuda.is_available() else "float32"
    return Work(asked.rows, asked.batch, asked.tokens, image_tokens, 4 if dtype == "float32" else 2, asked.r)


@cache
def shape_at(policy: str, tokens: int) -> "Shape":
    """Builds the model without weights, in about a second."""
    from policies.backends.requirements import config_of, shape_of

    return shape_of(config_of(policy), tokens)


def needs_of(asked: Doctor, policy: str) -> list[str]:
    """Lines: the model's size, the memory of each kind of work, and the expected speed."""
    from policies.backends.requirements import needs, speeds

    work, shape = work_of(asked, policy), shape_at(policy, asked.tokens)
    cache_kb = shape.cache * work.value_bytes / asked.tokens / 1000
    values = {2: "bfloat16", 4: "float32"}[work.value_bytes]
    lines = [
        f"{policy}: {shape.parameters / 1e6:,.1f} M parameters, {values}, {cache_kb:.1f} kB of KV cache a token",
        f"rows of {work.tokens} tokens, {work.image_tokens} of an image; {work.rows} decide at once, {work.batch} a "
        f"training step, LoRA of rank {work.r}",
    ]
    for name, parts in needs(shape, work).items():
        said = ", ".join(f"{part} {size / GIB:.2f}" for part, size in parts.items())
        lines.append(f"{name:26} {sum(parts.values()) / GIB:7.2f} GiB: {said}")
    if speed := speeds(shape, work.tokens):
        lines.append(f"expected on one H200: {speed[0]:.0f} decisions/s, {speed[1]:.0f} rows/s of LoRA")
    return lines


def verdict(asked: Doctor, policy: str) -> str:
    """Which kinds of work fit into this machine's memory."""
    import torch

    from policies.backends.requirements import needs

    if torch.cuda.is_available():
        name, memory = torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory
    else:
        name, memory = "no GPU, main memory", os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    needed = needs(shape_at(policy, asked.tokens), work_of(asked, policy))
    fits = {name: sum(parts.values()) <= USABLE * memory for name, parts in needed.items()}
    told = "; ".join(f"{name}: {'yes' if fit else 'no'}" for name, fit in fits.items())
    return f"here ({name}, {memory / GIB:.1f} GiB): {told}"


def table(asked: Doctor) -> str:
    """A Markdown table of the known models: memory [GiB] and expected speed."""
    from policies.backends.requirements import known, needs, speeds

    asked = replace(asked, dtype="bfloat16" if asked.dtype == "auto" else asked.dtype)
    rows, kinds = [], None
    for name in known():
        shape, work = shape_at(name, asked.tokens), work_of(asked, name)
        needed = needs(shape, work)
        kinds = kinds or list(needed)
        memory = [f"{sum(needed[kind].values()) / GIB:.1f}" if kind in needed else "?" for kind in kinds]
        speed = [f"{value:.0f}" for value in speeds(shape, asked.tokens) or ()] or ["?", "?"]
        rows.append([name, f"{shape.parameters / 1e6:,.0f}", str(work.image_tokens), *memory, *speed])
    header = ["model", "M parameters", "image tokens", *(kinds or ()), "decisions/s", "LoRA rows/s"]
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

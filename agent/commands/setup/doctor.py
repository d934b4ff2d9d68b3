"""`handeye doctor`: what this machine can do, and what a policy's model needs."""

import os
import time
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from envs.errors import UserError

if TYPE_CHECKING:
    from policies.backends.requirements import Shape, Work

FRAMES = 50  # rendered, to be timed
GIB = 2**30
USABLE = 7 / 8  # of a device's memory: estimates, the CUDA context and fragmentation take the rest


@dataclass(frozen=True)
class Doctor:
    """What this machine can do, what it lacks and what mends that; with --policy, what that needs to act and to train.

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
    self_test: bool = True  # render a frame, decide, train one step: about 10 s
    json: Path | None = None  # a file to write the numbers to; without a name, the standard output

    def run(self) -> None:
        """Raises UserError for an unknown policy, and, saying what to install, where no frame can be rendered."""
        from agent.commands.arguments import at_least

        sizes = {"rows": self.rows, "batch": self.batch, "tokens": self.tokens, "r": self.r}
        at_least(1, **sizes, image_tokens=1 if self.image_tokens is None else self.image_tokens)
        from agent.commands.outputs import document, emit
        from policies.backends.requirements import known

        out = document(self.json)
        if self.policy == "known":
            print(table(self))
            emit(out, {name: needed(self, name) for name in known()} if out else None)
        elif self.policy:
            lines = [*needs_of(self, self.policy), verdict(self, self.policy)]
            print("\n".join(lines))
            emit(out, {"policy": self.policy, "needs": needed(self, self.policy)})
        else:
            emit(out, machine(self.self_test))


def machine(test: bool = True) -> dict[str, Any]:
    """Prints versions, cores, what is missing with what mends it, the self-test, and the time of a rendered frame;
    returns these. Raises UserError, after all that was found, where the self-test fails."""
    import torch

    from agent.commands.diagnosis import findings, self_test
    from agent.record.console import show
    from agent.record.provenance import versions

    numbers = versions()
    for name, number in numbers.items():
        show(f"{name:17} {number}")
    cores = os.cpu_count()
    show(f"{'cores':17} {cores}, torch uses {torch.get_num_threads()} threads")
    found = []
    for each in findings():
        found.append(asdict(each))
        show(each.text)
    record = {"versions": numbers, "cores": cores, "findings": found}
    for each, seconds in self_test() if test else ():
        found.append(asdict(each) | {"seconds": seconds})
        show(f"{each.text} ({seconds:.1f} s)")
        if each.fix:
            raise UserError(f"the self-test of {each.what!r} {each.said}; valid: {each.fix}")
    record["frame_ms"] = frame_ms()
    show(f"{'rendering':17} MUJOCO_GL={os.environ.get('MUJOCO_GL')}, {record['frame_ms']:.1f} ms a frame")
    return record


def frame_ms() -> float:
    """[ms] that a frame takes to render."""
    from envs.registry import TASKS

    env = TASKS["reach"].make()
    env.reset(seed=0)
    env.render()
    started = time.perf_counter()
    for _ in range(FRAMES):
        env.render()
    env.close()
    return 1000 * (time.perf_counter() - started) / FRAMES


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


def needed(asked: Doctor, policy: str) -> dict[str, dict[str, float]]:
    """Kind of work -> what it takes in memory [GiB], by part."""
    from policies.backends.requirements import needs

    kinds = needs(shape_at(policy, asked.tokens), work_of(asked, policy))
    return {kind: {part: size / GIB for part, size in parts.items()} for kind, parts in kinds.items()}


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

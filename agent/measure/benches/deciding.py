"""Decisions per second of a policy, against what a user would write, and against the limit of its model."""

import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import DynamicCache

from agent.measure.benches.sides import bench_row, medians
from envs.observation import Observation
from envs.registry import task
from policies.action_codec import codec_for
from policies.backend import Request
from policies.backends.huggingface import HFBackend
from policies.backends.loading import load_backend
from policies.dialect import TERSE

ENVS = (1, 8, 32, 64)


def deciding(name: str, checkpoint: Path, envs: Sequence[int] = ENVS, repetitions: int = 3) -> list[dict[str, Any]]:
    """Greedy decisions per CPU second at the first observations of so many environments.

    The reference is `model.generate` and a regular expression, for each environment by itself. The limit is a bare
    batched forward of the same tokens: no grammar, no sampling.
    """
    backend, regex = load_backend(checkpoint), codec_for(task(name)).regex
    return [row for n in envs for row in _rows(name, backend, regex, n, repetitions)]


def _rows(name: str, backend: HFBackend, regex: str, n: int, repetitions: int) -> list[dict[str, Any]]:
    requests = [Request(o.frames, TERSE.act(o)) for o in _observations(name, n)]
    answers = backend.generate(requests, regex, 0.0, range(n))  # also to warm up
    sides = {
        "ours": lambda: backend.generate(requests, regex, 0.0, range(n)),
        "model.generate and a regular expression": lambda: [_generated(backend, r, regex) for r in requests],
        "a bare batched forward of the same tokens": _limit(backend, requests, answers),
    }
    spent = medians({side: partial(_cpu_seconds, call) for side, call in sides.items()}, repetitions)
    ours = n / spent.pop("ours")
    return [
        bench_row(f"deciding, {n} environments", "decisions/cpu-s", ours, n / seconds, f"{name} | {side}")
        for side, seconds in spent.items()
    ]


def _observations(name: str, n: int) -> list[Observation]:
    chosen = task(name)
    env, found = chosen.make(), []
    for seed in range(n):
        env.reset(seed=seed)
        found.append(chosen.observe(env))
    env.close()
    return found


def _cpu_seconds(call: Callable[[], Any]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


@torch.inference_mode()
def _generated(backend: HFBackend, request: Request, regex: str) -> re.Match | None:
    inputs = _inputs(backend, [request])
    said = backend.model.generate(**inputs, do_sample=False, max_new_tokens=backend.settings.max_new_tokens)
    text = backend.processor.batch_decode(said[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0]
    return re.search(regex, text)


def _inputs(backend: HFBackend, requests: Sequence[Request]) -> dict[str, torch.Tensor]:
    texts = [backend.template.prompt(r.messages) for r in requests]
    frames = [[Image.fromarray(frame) for frame in r.frames] for r in requests]
    options = {"padding": True, "padding_side": "left", "return_tensors": "pt", "add_special_tokens": False}
    return backend.processor(text=texts, images=frames, **options)


def _limit(backend: HFBackend, requests: Sequence[Request], answers: Sequence[str]) -> Callable[[], None]:
    """Prompts are read outside of what is measured. Each further token of the longest answer is one pass."""
    inputs, steps = _inputs(backend, requests), max(map(len, backend.reader.tokens(answers)))

    @torch.inference_mode()
    def passes() -> None:
        cache = DynamicCache(config=backend.model.config.get_text_config(decoder=True))
        backend.model(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
        mask, token = inputs["attention_mask"], inputs["input_ids"][:, -1:]
        for _ in range(steps - 1):
            mask = torch.nn.functional.pad(mask, (0, 1), value=1)
            backend.model(input_ids=token, attention_mask=mask, past_key_values=cache, use_cache=True, logits_to_keep=1)

    return passes

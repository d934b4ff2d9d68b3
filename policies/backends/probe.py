"""A loaded model's first answers, compared with those of a plain forward pass: does it read here as it reads itself?

Families differ in what they count, mask and cache. One that is read wrongly acts badly without an error, so that two
prompts are compared before a model is used: read in batches, padded, with a shared prefix, and each whole and alone.
"""

import logging

import numpy as np
import torch

from envs.errors import UserError
from policies.backend import Request
from policies.backends.huggingface import MOST, HFBackend
from policies.backends.inputs import Rows
from policies.backends.prefilled import HFPrefilledBatch
from policies.prompt import Message, assistant, user

log = logging.getLogger("handeye")
SIZE = 64  # [px] of the probe's frame
TOLERANCE = {torch.float32: 1e-4}  # of a token's probability
ROUGH = 0.1  # in half precision and under quantisation, where sums in another order differ visibly


def probe(backend: HFBackend) -> None:
    """Turns off what the model does not bear, with a line that says so: padding, shared prefixes, passes of few rows.

    Raises UserError where the model reads even a single prompt otherwise than by a plain forward pass, and for
    probabilities that are no numbers.
    """
    frame = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), dtype=np.uint8)
    words = "move left", "where is the red cube. gripper 3 4"
    requests = [Request(frame, user(text)) for text in words]
    plain = torch.stack([_plain(backend, request) for request in requests])
    if not torch.isfinite(plain).all():
        raise UserError("its first token's probabilities are not finite")
    alone = [backend.prefill([request]) for request in requests]
    if _differ(backend, torch.cat([next_token(each) for each in alone]), plain):
        backend.padding = False
        log.warning("the model does not bear padding: only prompts of one length share a batch")
        alone = [backend.prefill([request]) for request in requests]
        difference = _difference(torch.cat([next_token(each) for each in alone]), plain)
        if difference > _tolerance(backend):
            raise UserError(
                f"a prompt is not read as the model reads it: probabilities differ by {difference:.2g}; "
                "no valid setting is known for this kind of model"
            )
    together = backend.prefill(requests)
    if _differ(backend, next_token(together), plain):
        raise UserError(
            "prompts in a batch are not read as each alone; no valid setting is known for this kind of model"
        )
    if backend.rows.least > 1 and not torch.equal(next_token(together), next_token(together, MOST)):
        backend.rows = Rows(most=MOST, exact=True)
        log.warning(f"a row's result depends on the number of rows here: every pass has {MOST}")
    _probe_sharing(backend, requests, together)


def _probe_sharing(backend: HFBackend, requests: list[Request], prefilled: HFPrefilledBatch) -> None:
    longer = [[_more_words(r.messages), [*r.messages, *assistant("move left"), *user("good?", 0)]] for r in requests]
    each = [Request(r.frames, messages) for r, some in zip(requests, longer, strict=True) for messages in some]
    whole = torch.cat([next_token(backend.prefill([r])) for r in each])
    if _differ(backend, next_token(prefilled.extend(longer)), whole):
        backend.shares = False
        log.warning("the model does not bear a shared prefix: each question is read whole")


def next_token(prefilled: HFPrefilledBatch, rows: int = 1) -> torch.Tensor:
    """(n, vocabulary): the probabilities of the first token of an answer to each prompt. rows: of a pass, at least."""
    return prefilled.first(rows).softmax(dim=1)


@torch.inference_mode()
def _plain(backend: HFBackend, request: Request) -> torch.Tensor:
    """(vocabulary,): as `next_token`, by a forward pass over the whole prompt, without cache, padding or positions."""
    read = backend.reader.read(request, backend.template.prompt(request.messages))
    inputs = {name: backend.moved(value) for name, value in (read.aligned | read.images).items()}
    for module in backend.model.modules():
        if hasattr(module, "rope_deltas"):  # what Qwen's models keep of their last prompt
            module.rope_deltas = None
    return backend.model(**inputs, use_cache=False).logits[0, -1].float().cpu().softmax(dim=0)


def _more_words(messages: list[Message]) -> list[Message]:
    text = messages[-1]["content"][-1]["text"]
    return user(f"{text}. move +1 -2; good?")


def _tolerance(backend: HFBackend) -> float:
    exact = backend.settings.quantise == "none"  # int8 rounds activations too, by what else is in the pass
    return TOLERANCE.get(backend.model.dtype, ROUGH) if exact else ROUGH


def _difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())


def _differ(backend: HFBackend, one: torch.Tensor, other: torch.Tensor) -> bool:
    return not _difference(one, other) <= _tolerance(backend)

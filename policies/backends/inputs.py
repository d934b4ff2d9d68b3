"""Prompts and frames -> a model's inputs: each request through the processor alone, and batches put together here.

Processors name and batch what they make of images in different ways (pixels, patches, crops, grids). Two rules hold for
all: what is as long as the text is padded with it, on the left; the rest is concatenated.
"""

import inspect
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from PIL import Image
from torch.nn.functional import pad
from transformers import PreTrainedModel, ProcessorMixin

from policies.backend import Request

T = TypeVar("T")
PAD_MULTIPLE = 8  # prompts are padded to a multiple of this many tokens


@dataclass(frozen=True)
class Read:
    """One prompt as inputs.

    aligned: name -> (1, n), as long as the text of n tokens. images: name -> what the processor made of the frames.
    positions: (p, n), p of them for each token, as the model counts them.
    """

    aligned: dict[str, torch.Tensor]
    images: dict[str, Any]
    positions: torch.Tensor

    @property
    def shape(self) -> tuple:
        """Those of one shape can be put into one batch."""
        return tuple((name, tuple(v.shape[1:])) for name, v in self.images.items() if isinstance(v, torch.Tensor))

    def __len__(self) -> int:
        return self.positions.shape[1]


class Reader:
    """A model's processor."""

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin):
        self.processor = processor
        self._accepts = set(inspect.signature(model.forward).parameters) - {"labels"}
        inner = (part for part in (model, getattr(model, "model", None)) if hasattr(part, "get_rope_index"))
        self._rope = getattr(next(inner, None), "get_rope_index", None)  # of models that count in three dimensions
        self.pad = processor.tokenizer.pad_token_id or 0
        self._pads = processor.tokenizer.pad_token_id is not None

    def read(self, request: Request, text: str) -> Read:
        """text: the rendered prompt."""
        return self.read_each([request], [text])[0]

    def read_each(self, requests: Sequence[Request], texts: Sequence[str]) -> list[Read]:
        """As `read`; prompts with as many frames of one size share a call of the processor, which costs as much as
        reading three small frames."""
        alike, read = defaultdict(list), {}
        for i, request in enumerate(requests):
            alike[request.frames.shape].append(i)
        for some in alike.values():
            calls = [some] if self._pads else [[i] for i in some]
            for call in calls:
                read |= zip(call, self._called([requests[i] for i in call], [texts[i] for i in call]), strict=True)
        return [read[i] for i in range(len(requests))]

    def _called(self, requests: Sequence[Request], texts: Sequence[str]) -> Iterator[Read]:
        """Prompts with as many frames of one size. Each then has an equal share of all that is made of frames."""
        n, options = len(requests), {"padding": True, "padding_side": "left"} if len(requests) > 1 else {}
        frames = [[Image.fromarray(frame) for frame in request.frames] for request in requests]
        images = frames if len(requests[0].frames) else None
        made = self.processor(text=list(texts), images=images, return_tensors="pt", add_special_tokens=False, **options)
        made = {name: value for name, value in made.items() if name in self._accepts}
        shape, real = made["input_ids"].shape, made["attention_mask"].bool()
        is_aligned = {k: isinstance(v, torch.Tensor) and v.shape == shape for k, v in made.items()}
        for i in range(n):
            aligned = {k: v[i : i + 1, real[i]] for k, v in made.items() if is_aligned[k]}
            shares = {k: len(v) // n for k, v in made.items() if not is_aligned[k]}
            images = {k: made[k][i * share : (i + 1) * share] for k, share in shares.items()}
            yield Read(aligned, images, self._positions(aligned | images, int(real[i].sum())))

    def _positions(self, inputs: dict[str, Any], n: int) -> torch.Tensor:
        if self._rope is None:
            return torch.arange(n)[None]
        taken = inspect.signature(self._rope).parameters
        return self._rope(**{k: v for k, v in inputs.items() if k in taken})[0][:, 0]

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text."""
        return self.processor.tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []

    def batch(self, prompts: Sequence[Read], length: int) -> Read:
        """One batch of prompts of one shape, padded on the left to `length`; positions are (p, rows, length)."""
        aligned = {
            name: torch.cat(
                [pad(r.aligned[name], (length - len(r), 0), value=self.pad * (name == "input_ids")) for r in prompts]
            )
            for name in prompts[0].aligned
        }
        images = {name: _joined([r.images[name] for r in prompts]) for name in prompts[0].images}
        positions = torch.stack([pad(r.positions, (length - len(r), 0)) for r in prompts], dim=1)
        return Read(aligned, images, positions)


def _joined(values: Sequence[Any]) -> Any:
    if isinstance(values[0], torch.Tensor):
        return torch.cat(list(values))
    return [item for value in values for item in value]


@dataclass(frozen=True)
class Rows:
    """How many rows a forward pass has: at most `most` (None: no bound), and at least so many that `least` tokens are
    read, or, if `exact`, always `most`."""

    least: int = 1
    most: int | None = None
    exact: bool = False

    @property
    def elastic(self) -> bool:
        """Whether a row's result is the same in passes of any number of rows that `least` allows."""
        return self.least > 1

    def filled(self, items: Sequence[T], tokens: int = 1) -> list[T]:
        """The items, and the last one repeated until they are enough where each reads so many tokens."""
        least = self.most if self.exact else -(-self.least // tokens)
        return [*items, *[items[-1]] * (least - len(items))]

    def batches(self, items: Iterable[tuple[Any, T]]) -> Iterator[tuple[Any, list[T]]]:
        """Items, given after a key, in batches that share the key."""
        of_key = defaultdict(list)
        for key, item in items:
            of_key[key].append(item)
        for key, some in of_key.items():
            most = self.most or len(some)
            for start in range(0, len(some), most):
                yield key, some[start : start + most]


def padded(length: int) -> int:
    """A length in tokens, rounded up."""
    return -(-length // PAD_MULTIPLE) * PAD_MULTIPLE

"""What a request to `handeye serve` may ask for, so that none can exhaust the machine."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """body_bytes, images, pixels (of all images together), text (characters of all messages), tokens (of these): of one
    request. regex: characters. samples: answers to one prompt. waiting: requests accepted and not yet answered; beyond
    these a client is told to come back (429). batch: answers in one call of the model. time_s: from a request's first
    byte to its answer. adapters: loaded at a time, beside the policy's own.
    """

    body_bytes: int = 8 * 2**20
    images: int = 16
    pixels: int = 2**21
    text: int = 16_384
    tokens: int = 4096
    regex: int = 8192
    samples: int = 32
    waiting: int = 128
    batch: int = 64
    time_s: float = 120.0
    adapters: int = 8

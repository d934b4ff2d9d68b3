"""A base in 8 or 4 bits under its adapters (QLoRA, Dettmers et al., 2023), by bitsandbytes."""

import logging
from collections.abc import Sequence
from importlib.util import find_spec

import torch
from transformers import BitsAndBytesConfig

from envs.errors import UserError

HEAD = "lm_head"  # whose weights trl multiplies with itself


def quantisation(kind: str, dtype: torch.dtype, whole: Sequence[str] = ()) -> BitsAndBytesConfig:
    """kind: `int8` or `nf4`. dtype: of what is computed. whole: parts that keep their weights, being trained.

    Raises UserError where bitsandbytes is not installed.
    """
    if find_spec("bitsandbytes") is None:
        raise UserError(
            f"model.quantise = {kind!r} needs bitsandbytes; valid: pip install 'handeye[quantise]' first, or none"
        )
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells of every layer that it casts
    skipped = [HEAD, *whole]
    if kind == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skipped)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=skipped,
    )

"""The embedded policy: a vision-language model of 2 M parameters that trains on a laptop's CPU.

Stock classes of transformers, built from their configs: Idefics3 (a ViT, pixel shuffle to 16 image tokens, a Llama),
its processor, and a byte-level BPE tokenizer trained on the tasks' own words. Only the initialisation is ours:
transformers draws every weight with a standard deviation of 0.02, which at this width leaves attention flat and the
model blind. Fan-in scaling (LeCun et al., 1998; GPT-2's division of residual outputs) makes it learn.
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoProcessor,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from envs.errors import UserError

IMAGE_SIZE = 64  # [px]
PATCH_SIZE = 8  # [px]
PIXEL_SHUFFLE = 2
IMAGE_TOKENS = (IMAGE_SIZE // PATCH_SIZE // PIXEL_SHUFFLE) ** 2
WIDTH = 128
LAYERS = 4
HEADS = 4
POSITIONS = 512  # tokens of prompt and answer, at most

BOS, EOS, PAD, ANSWER = "<s>", "</s>", "<pad>", "<answer>"
SPECIAL = [PAD, BOS, EOS, ANSWER, "<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
CHAT_TEMPLATE = (
    "{{ '<s>' }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ '<answer>' }}{% endif %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>' }}{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% if message['role'] == 'assistant' %}{{ '</s>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<answer>' }}{% endif %}"
)


def build_tokenizer(words: tuple[str, ...]) -> PreTrainedTokenizerFast:
    """A byte-level BPE in which each of `words` (with a space before it) is one token; it can spell anything else."""
    tokenizer = Tokenizer(models.BPE())
    pieces = pre_tokenizers.Split(Regex(r" ?[+-]?\w+| ?[^\w\s]+|\s+"), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pieces, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((f"{word} {word}" for word in words), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD, padding_side="left"
    )


def build_processor(words: tuple[str, ...]) -> Idefics3Processor:
    """The stock processor with its PIL image processor (the other needs torchvision)."""
    size = {"longest_edge": IMAGE_SIZE}
    image_processor = Idefics3ImageProcessorPil(do_image_splitting=False, size=size, max_image_size=size)
    return Idefics3Processor(
        image_processor, build_tokenizer(words), image_seq_len=IMAGE_TOKENS, chat_template=CHAT_TEMPLATE
    )


def build_model(processor: Idefics3Processor, seed: int) -> Idefics3ForConditionalGeneration:
    """The model from nothing, its weights drawn with `seed`."""
    tokenizer = processor.tokenizer
    tokens = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = Idefics3Config(
        vision_config={
            "hidden_size": WIDTH,
            "intermediate_size": 3 * WIDTH,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "image_size": IMAGE_SIZE,
            "patch_size": PATCH_SIZE,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": len(tokenizer),
            "hidden_size": WIDTH,
            "intermediate_size": 3 * WIDTH,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": HEADS,
            "max_position_embeddings": POSITIONS,
            **tokens,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=PIXEL_SHUFFLE,
        **tokens,
    )
    model = Idefics3ForConditionalGeneration(config)
    initialise(model, seed)
    return model


@torch.no_grad()
def initialise(model: torch.nn.Module, seed: int) -> None:
    """Fan-in initialisation, in place."""
    generator = torch.Generator().manual_seed(seed)
    residual_outputs = ("o_proj", "out_proj", "down_proj", "fc2")
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            std = 1 / math.sqrt(module.weight[0].numel())
            if name.endswith(residual_outputs):
                std /= math.sqrt(2 * LAYERS)
            module.weight.normal_(0, std, generator=generator)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, torch.nn.Embedding):
            std = 0.3 if "position" in name else 1 / math.sqrt(WIDTH)
            module.weight.normal_(0, std, generator=generator)


def build(words: tuple[str, ...], seed: int) -> tuple[Idefics3ForConditionalGeneration, Idefics3Processor]:
    """Model and processor from nothing."""
    processor = build_processor(words)
    return build_model(processor, seed), processor


def add_words(model: PreTrainedModel, processor: ProcessorMixin, words: Iterable[str], seed: int = 0) -> ProcessorMixin:
    """The processor with every word one token, where it was spelled in several, at the start of a text and after a
    space. What was one token stays so. The model gains a row for each, in place, drawn as its others are spread: the
    mean of a spelling, or of all, as transformers has it, leaves new words too alike to be distinguished.

    Of checkpoints with a BPE; raises UserError for any other.
    """
    with TemporaryDirectory() as folder:
        processor.save_pretrained(folder)
        path = Path(folder) / "tokenizer.json"
        path.write_text(_with_words(path.read_text(), words))
        more = AutoProcessor.from_pretrained(folder, backend="pil")
    n, generator = len(processor.tokenizer), torch.Generator().manual_seed(seed)
    rows = max(model.get_input_embeddings().num_embeddings, len(more.tokenizer))
    model.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        both = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        for weights in dict.fromkeys(both):  # one, where they are tied; in an order, unlike a set, that a seed repeats
            new = torch.randn(weights[n:].shape, generator=generator)
            weights[n:] = weights[:n].mean(dim=0) + weights[:n].std(dim=0) * new
    return more


def _with_words(saved: str, words: Iterable[str]) -> str:
    """A tokenizer's JSON with merges, after all that there are, which put the words together from the left."""
    data, tokenizer = json.loads(saved), Tokenizer.from_str(saved)
    vocabulary, merges = data["model"]["vocab"], data["model"].get("merges")
    if merges is None:
        raise UserError(f"words cannot be added to a tokenizer of the kind {data['model']['type']}; valid: BPE")
    free = tokenizer.get_vocab_size(with_added_tokens=True)
    texts = (text for word in words for text in (word, f" {word}"))
    pieces = dict.fromkeys(p for text in texts for p, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text))
    for piece in pieces:
        whole, *rest = (token.value for token in tokenizer.model.tokenize(piece))
        for token in rest:
            merges.append([whole, token])
            whole += token
            free += vocabulary.setdefault(whole, free) == free
        if rest:
            tokenizer = Tokenizer.from_str(json.dumps(data))
    return json.dumps(data)

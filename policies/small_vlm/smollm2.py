"""SmolLM2-135M-Instruct (Allal et al., 2025, arXiv:2502.02737) from a GGUF file, its prompts extended by images."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, LlamaForCausalLM, PreTrainedTokenizerBase

IMAGE = "<image>"
# SmolLM2's own template; a message's content may also be a list of parts, of which an image is one placeholder
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}" + IMAGE + "{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def load_language(path: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    """Model, dequantised to float32, and tokenizer. Takes about 30 s and 1.3 GB."""
    source = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    dequantised = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32, quantization_config=dequantised)
    model.config.name_or_path = ""  # not this machine's folder
    return model.eval(), AutoTokenizer.from_pretrained(**source)


def with_images(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    """Adds the image placeholder, in place: to the tokenizer, and to the model as one row, the mean of all others.

    An image's features take the place of the row's: it is read nowhere, and written only by a model that errs.
    """
    tokenizer.padding_side = "left"
    tokenizer.pad_token = "<|endoftext|>"
    model.config.pad_token_id = tokenizer.pad_token_id
    tokenizer.add_tokens([IMAGE], special_tokens=True)
    old = model.get_input_embeddings().num_embeddings
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        weight = model.get_input_embeddings().weight
        weight[old:] = weight[:old].mean(dim=0)

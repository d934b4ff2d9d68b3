"""torchvision beside a torch for CPUs, without its compiled operators. It needs no other package of ours."""

import sys


def import_torchvision() -> None:
    """Import torchvision. A build for CUDA does not import beside a torch for CPUs: its compiled operators do not load.
    None is used here, but the import asks for the names of two, which are declared."""
    import torch

    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import_torchvision.library = library  # the names are declared for as long as it lives
        import torchvision  # noqa: F401

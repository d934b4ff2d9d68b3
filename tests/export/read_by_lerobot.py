"""Run by `test_lerobot_format.py` in an environment with the package lerobot-dataset: what it reads, as JSON.

python read_by_lerobot.py FOLDER
"""

import json
import sys

try:
    from ledataset.datasets.lerobot_dataset import LeRobotDataset
except RuntimeError as error:  # torchvision's compiled operators do not load beside a torch for the CPU
    if "torchvision::" not in str(error):
        raise
    import torch

    for name in [name for name in sys.modules if name.partition(".")[0] in ("torchvision", "ledataset")]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from ledataset.datasets.lerobot_dataset import LeRobotDataset

dataset = LeRobotDataset("local/export", root=sys.argv[1], delta_timestamps={"action": [0.0, 0.2]})
first = dataset[0]
print(
    json.dumps(
        {
            "frames": len(dataset),
            "episodes": dataset.num_episodes,
            "image": list(first["observation.images.camera"].shape),
            "action": list(first["action"].shape),
            "task": first["task"],
        }
    )
)

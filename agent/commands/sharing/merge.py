"""`handeye merge`: adapters and their base as one whole model."""

from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from policies.backends.settings import ModelSettings


@dataclass(frozen=True)
class Merge:
    """Adapters and their base as one whole model, which plain transformers loads."""

    checkpoint: Positional[Path]  # a folder of adapters
    out: Positional[Path]  # the folder to make
    overwrite: bool = False  # replace the folder if it is a checkpoint's
    model: ModelSettings = field(default_factory=ModelSettings)
    """how the checkpoint is loaded; with dtype auto the sum is made in float32"""

    def run(self) -> None:
        """Raises UserError, before anything is written, for folders that cannot work."""
        from agent.record.merging import merge
        from policies.base import find_policy

        print(f"policy   {merge(find_policy(str(self.checkpoint)), self.out, self.overwrite, self.model)}")

"""What can be chosen of an export, apart from what is slow to import."""

from typing import Literal

Format = Literal["lerobot", "minari", "parquet"]
Only = Literal["practice", "relabelled", "branches", "gate", "heldout", "successes"]

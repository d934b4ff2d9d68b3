"""`handeye assemble`: a pretrained policy from weights that package indexes carry."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True)
class Assemble:
    """A vision-language model joined from pretrained halves, as a folder that `policy:` and plain transformers load.

    small-vlm: SmolLM2-135M-Instruct (Apache-2.0) and DINOv2 ViT-S/14 (MIT), 157 M parameters, 630 MB in float32. The
    projector between them is untrained: train all weights, or with LoRA the projector whole (modules_to_save).
    """

    what: Positional[Literal["small-vlm"]]  # the only one
    out: Positional[Path]  # a folder
    image_size: int = 112
    """[px], a multiple of 14 up to 518; a frame is (image_size / 14)^2 tokens: 64 at 112, 144 at 168, 256 at 224"""
    seed: int = 0  # of the projector's weights
    overwrite: bool = False  # replace the folder if it is a checkpoint's

    def run(self) -> None:
        """Raises UserError for a bad size or folder, and where a package is missing."""
        from agent.commands.arguments import at_least
        from envs.errors import UserError
        from policies.small_vlm.packages import check_installed

        if self.image_size % 14 or not 14 <= self.image_size <= 518:
            raise UserError(f"image_size = {self.image_size}; valid: a multiple of 14 from 14 to 518")
        at_least(0, seed=self.seed)
        check_folder(self.out, self.overwrite)
        check_installed()
        write(self)
        print(f"policy {self.out}")


def check_folder(out: Path, overwrite: bool) -> None:
    """Raises UserError for a file, and for a folder with files, unless it is a checkpoint's and may be replaced."""
    from agent.record.ownership import check_replaceable
    from envs.errors import UserError

    if out.exists() and not out.is_dir():
        raise UserError(f"out = {str(out)!r} is a file; valid: a folder")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not overwrite:
        raise UserError(f"{str(out)!r} is not empty; valid: another folder, or --overwrite")
    check_replaceable(out, overwrite, "checkpoint")


def write(settings: Assemble) -> None:
    """The model into a folder beside `out`, which becomes `out` when it is whole."""
    import json
    from tempfile import TemporaryDirectory

    from transformers.utils import logging

    from agent.record import ownership
    from agent.record.provenance import FILE, source, versions, weights_sha256
    from policies.small_vlm.llava import assemble, save
    from policies.small_vlm.packages import LANGUAGE, VISION

    logging.disable_progress_bar()
    out = settings.out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        made = Path(scratch) / out.name
        ownership.begin(made, "checkpoint")
        save(*assemble(settings.image_size, settings.seed), made)
        record = {
            "command": f"handeye assemble {settings.what}",
            "image_size": settings.image_size,
            "seed": settings.seed,
            "weights": weights_sha256(made),
            "made_from": {"language_model": LANGUAGE.record(), "vision_tower": VISION.record()},
            "untrained": ["multi_modal_projector"],
            "source": source(),
            "versions": versions(),
        }
        (made / FILE).write_text(json.dumps(record, indent=1) + "\n")
        ownership.replace(made, out)

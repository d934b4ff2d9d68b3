"""Checkpoints of a training by trl, whole or absent, from which an interrupted training goes on as if undisturbed.

transformers' Trainer writes into `checkpoint-STEP` in place and resumes from the highest number. Here such a folder is
unfinished: with the hashes of its files beside them it is synced and renamed to `whole-STEP`, and only that is resumed.
The weights after the last step are not kept here: whoever trains saves them, and the Trainer, resumed at its last step,
would take one more.

What a resumed training loads, all by transformers' Trainer: weights from safetensors; the states of the optimiser, the
schedule, the generators and the gradient scaler from torch's pickles, each by `torch.load(weights_only=True)`, which
runs no code of the file; step and logged numbers from JSON. `training_args.bin`, a pickle that needs the unsafe
loading, is not kept. The rows seen in the epoch at hand are skipped, without being decoded.

A resumed training has the weights of an undisturbed one, bit for bit on one machine. Numbers that are logged are those
of the steps since: a mean over the steps between two lines of the log, `num_tokens` and `train_loss` start anew.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from accelerate import PartialState
from safetensors import SafetensorError
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerState
from transformers.trainer import TRAINING_ARGS_NAME

from agent.organise.durable import named_errors, publish
from agent.organise.rows import Example, Pair
from agent.record.console import console
from agent.record.provenance import versions
from agent.record.run.journal import hashes
from envs.errors import UserError, first_line
from policies.backends.adapters.weights import os_error

UNFINISHED, WHOLE = "checkpoint-", "whole-"  # what the folders' names begin with; the first is the Trainer's own
MARKER = "whole.json"  # in a whole checkpoint: `training`, and `files`: path -> SHA-256
ANSWERS = ("answer", "chosen", "rejected")  # of a row: the first of SFT, the others of DPO
KEPT = 2  # newest whole checkpoints: one more than is needed, should its files be damaged


class Checkpoints(TrainerCallback):
    """The whole checkpoints of one training in the trainer's output folder.

    training: hash of what identifies it, as `training_sha256` gives it. needs: [bytes] of a checkpoint, about. is_main:
    whether this process is the first of the training, which alone publishes and deletes.
    """

    def __init__(self, folder: Path, training: str, needs: int, is_main: bool = True):
        self._folder, self._training, self._needs, self._is_main = folder, training, needs, is_main
        self._saving = False

    def newest(self) -> Path | None:
        """The newest whole checkpoint of this training; None without one.

        Deletes unfinished ones, those of another training, and, with a line to the console, damaged ones.
        """
        self._delete_unfinished()
        for checkpoint in self._whole():
            try:
                marker = json.loads((checkpoint / MARKER).read_bytes())
                if marker["training"] == self._training:
                    _check_files(checkpoint, marker["files"])
                    return checkpoint
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                line = f"checkpoint {str(checkpoint)!r} is damaged and deleted: {first_line(error)}"
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            shutil.rmtree(checkpoint)
        return None

    @contextmanager
    def saving(self) -> Iterator[None]:
        """While the trainer trains: raises UserError for a checkpoint that cannot be written, and leaves nothing of it.

        torch, safetensors and tokenizers write by themselves: what they raise for a full disk is no OSError.
        """
        try:
            yield
        except OSError:
            if not self._saving:
                raise
            with named_errors(self._folder, self._needs):
                raise
        except Exception as error:  # tokenizers has no class of its own
            is_of_writer = isinstance(error, SafetensorError | RuntimeError) or os_error(error) is not None
            if not self._saving or not is_of_writer:  # the training itself
                raise
            free = shutil.disk_usage(self._folder).free
            room = f"{free / 1e6:.0f} MB are free, a checkpoint needs {self._needs / 1e6:.1f} MB"
            what = f"no checkpoint can be written in {str(self._folder)!r}: {first_line(error)}; {room}"
            raise UserError(f"{what}; valid: more free space, or save_strategy: no") from error
        finally:
            if self._is_main:
                self._delete_unfinished()

    def on_step_end(self, args, state, control, **kwargs) -> None:
        """Before the Trainer saves. The last step is not saved."""
        control.should_save &= state.global_step < state.max_steps
        self._saving = control.should_save

    on_epoch_end = on_step_end

    def on_save(self, args, state, control, **kwargs) -> None:
        PartialState().wait_for_everyone()  # each process writes the state of its own generators
        if self._is_main:
            self._publish(state)
        PartialState().wait_for_everyone()
        self._saving = False

    def _publish(self, state: TrainerState) -> None:
        fresh = self._folder / f"{UNFINISHED}{state.global_step}"
        (fresh / TRAINING_ARGS_NAME).unlink()
        marker = {"training": self._training, "files": _hashes(fresh)}
        (fresh / MARKER).write_text(json.dumps(marker, indent=1) + "\n")
        publish(fresh, self._folder / f"{WHOLE}{state.global_step}")
        for older in self._whole()[KEPT:]:
            shutil.rmtree(older)

    def _whole(self) -> list[Path]:
        """Folders of whole checkpoints, the newest first."""
        found = (path for path in self._folder.glob(f"{WHOLE}*") if path.name.removeprefix(WHOLE).isdecimal())
        return sorted(found, key=lambda path: int(path.name.removeprefix(WHOLE)), reverse=True)

    def _unfinished(self) -> list[Path]:
        return list(self._folder.glob(f"{UNFINISHED}*"))

    def _delete_unfinished(self) -> None:
        for folder in self._unfinished():
            shutil.rmtree(folder)


@contextmanager
def saved_by_own_names(model: torch.nn.Module) -> Iterator[None]:
    """In the block, a whole model is saved by the names that it has for its weights.

    transformers 5.23 saves by the names of published checkpoints, which `from_pretrained` maps to the model's own. Its
    Trainer does not when it resumes: it would leave the weights as they are, and log a warning.
    """
    if not isinstance(model, PreTrainedModel):  # adapters have their own names
        yield
        return
    model.save_pretrained = partial(model.save_pretrained, save_original_format=False)
    try:
        yield
    finally:
        del model.save_pretrained


def checkpoints(trainer: Trainer, rows: Iterable[Example | Pair]) -> Checkpoints:
    """The checkpoints of a training that has not begun, in the trainer's output folder. rows: what it trains on."""
    trained = sum(p.nbytes for p in trainer.model.parameters() if p.requires_grad)
    needs = 3 * trained  # the weights, and Adam's two moments
    is_main = trainer.is_world_process_zero()
    return Checkpoints(Path(trainer.args.output_dir), training_sha256(trainer, rows), needs, is_main)


def training_sha256(trainer: Trainer, rows: Iterable[Example | Pair]) -> str:
    """Hash of what decides the weights that a training gives: its settings, rows, and weights, its reference's too,
    before the first step, and the versions of packages."""
    arguments = {name: value for name, value in trainer.args.to_dict().items() if name != "output_dir"}
    digest = hashlib.sha256(_json({"trainer": type(trainer).__name__, "settings": arguments, "versions": versions()}))
    for row in rows:
        pngs = [frame.png() for frame in row.shown]
        digest.update(_json([row.prompt, [getattr(row, name, None) for name in ANSWERS], list(map(len, pngs))]))
        for png in pngs:
            digest.update(png)
    for model in (trainer.model, getattr(trainer, "ref_model", None)):
        for name, parameter in model.named_parameters() if model else ():
            digest.update(_json([name, list(parameter.shape), str(parameter.dtype)]))
            digest.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _hashes(folder: Path) -> dict[str, str]:
    """Path in the folder -> SHA-256, of each file but the marker."""
    return {name: sha256 for name, sha256 in hashes(folder).items() if name != MARKER}


def _check_files(folder: Path, written: Mapping[str, str]) -> None:
    """Raises ValueError for files that are missing, added or changed."""
    found = _hashes(folder)
    wrong = sorted(name for name in {*found, *written} if found.get(name) != written.get(name))
    if wrong:
        raise ValueError(f"the SHA-256 of {', '.join(wrong)} is not the one in {MARKER}")

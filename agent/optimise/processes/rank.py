"""One process of a training in several (`agent.optimise.processes.distributed`), started by torch's launcher:

python -m torch.distributed.run --nproc-per-node=N -m agent.optimise.processes.rank FILE
"""

import json
import os
import pickle
import sys
import threading
from dataclasses import replace
from pathlib import Path

import torch
from transformers import TrainerCallback

from agent.optimise.dpo import train_dpo
from agent.optimise.processes.distributed import ERROR, EVENT, Training
from agent.optimise.sft import train_sft
from envs.errors import first_line
from policies.backends.adapters.lora import is_adapted
from policies.backends.loading import load_trainable


class Forwarding(TrainerCallback):
    """Prints what callbacks in the process that started the training are told."""

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self._print("on_train_begin", state)

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self._print("on_step_end", state)

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        self._print("on_log", state, logs)

    def _print(self, event: str, state, logs: dict[str, float] | None = None) -> None:
        shown = {"global_step": state.global_step, "max_steps": state.max_steps}
        shown["log_history"] = state.log_history if event == "on_train_begin" else []
        print(EVENT + json.dumps({"event": event, "state": shown, "logs": logs}), flush=True)


def train(training: Training, rank: int, local_rank: int) -> None:
    """Train a share of the rows; the first process saves the policy."""
    device = training.model.device
    if device != "cpu":
        device = f"cuda:{local_rank}"
        torch.cuda.set_device(local_rank)
    settings = replace(training.model, device=device)
    backend = load_trainable(training.checkpoint, settings, training.seed)
    given = backend.processor, training.rows, training.folder, training.settings, [Forwarding()] if rank == 0 else []
    if training.section in ("sft", "awr"):
        train_sft(backend.model, *given, training.section)
    else:
        whole = not is_adapted(backend.model)
        reference = load_trainable(training.checkpoint, settings).model if whole else None
        train_dpo(backend.model, reference, *given)
    if rank == 0:
        backend.save(training.out)


def _end_with_parent() -> None:
    """Exit when the process that started the training does: killed, it cannot stop this one, but its pipe ends."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


def main(path: Path) -> None:
    """Exits with status 1 for whatever is raised, which a file beside `path` then names."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    try:
        train(pickle.loads(path.read_bytes()), rank, local_rank)
    except Exception as error:
        record = {"kind": type(error).__name__, "message": first_line(error)}
        (path.parent / ERROR.replace("*", str(rank))).write_text(json.dumps(record))
        raise
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Trains a policy of LeRobot with its own trainer on an export, and plays it in the environment of the episodes.

    handeye rollout reach out/episodes --policy expert --episodes 5000
    handeye export out/episodes out/reach --instruction "reach the green cylinder"
    python -m venv lerobot-venv          # docs/experiments/exported_data.md has what is installed into it
    LEROBOT_VENV=lerobot-venv python tests/export/lerobot_policies.py out/reach out/diffusion --policy diffusion \
        --task reach --instruction "reach the green cylinder" --steps 4000 --episodes 100

ACT (Zhao et al., 2023) and Diffusion Policy (Chi et al., 2023) take frames and numbers, no language: the export is of
one instruction, and so are the held-out starts that they are played from. The policy runs in LeRobot's environment,
the simulator in this one.
"""

import argparse
import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

POLICIES = {  # LeRobot's settings of each; both begin with random weights
    "act": {
        "pretrained_backbone_weights": "null",
        "chunk_size": 4,
        "n_action_steps": 1,
        "dim_model": 128,
        "n_heads": 4,
        "dim_feedforward": 512,
        "n_encoder_layers": 2,
        "use_vae": "false",
        "optimizer_lr": 3e-4,
        "optimizer_lr_backbone": 3e-4,
    },
    "diffusion": {
        "n_obs_steps": 1,
        "horizon": 4,
        "n_action_steps": 1,
        "drop_n_last_frames": 0,  # episodes are of 4 decisions
        "down_dims": "[64,128]",
        "noise_scheduler_type": "DDIM",
        "num_inference_steps": 10,
        "optimizer_lr": 3e-4,
    },
}
LAST = "checkpoints/last/pretrained_model"


def trained(dataset: Path, out: Path, policy: str, steps: int, python: Path) -> None:
    """`lerobot-train` on all episodes of an export."""
    options = {
        "dataset.repo_id": "local/export",
        "dataset.root": str(dataset),
        "dataset.use_imagenet_stats": "false",
        "output_dir": str(out),
        "steps": steps,
        "batch_size": 16,
        "num_workers": 0,
        "eval_freq": 0,
        "save_freq": min(steps, 1000),
        "log_freq": 100,
        "seed": 0,
        "wandb.enable": "false",
    }
    settings = {"type": policy, "device": "cpu", "push_to_hub": "false"} | POLICIES[policy]
    options |= {f"policy.{name}": value for name, value in settings.items()}
    began = time.monotonic()
    words = [f"--{name}={value}" for name, value in options.items()]
    subprocess.run([python, __file__, "--as-trainer", *words], check=True)
    print(f"{steps} steps in {(time.monotonic() - began) / 60:.1f} minutes", flush=True)


class Trained:
    """LeRobot's policy in a process of its own: frames and the proprioception's numbers in, actions out."""

    def __init__(self, checkpoint: Path, python: Path):
        command = [python, __file__, "--as-policy", str(checkpoint)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def act(self, observations, rngs):
        from agent.record.export.source import NUMBER
        from policies.base import Decision

        frames = [o.frames[-1] for o in observations]
        numbers = [[float(word) for word in NUMBER.findall(o.proprioception)] for o in observations]
        pickle.dump((frames, numbers), self._process.stdin)
        self._process.stdin.flush()
        return [Decision("", action.clip(-1, 1)) for action in pickle.load(self._process.stdout)]

    def close(self):
        self._process.stdin.close()
        self._process.wait()


def played(policy: Trained, task: str, instruction: str, episodes: int) -> dict:
    """Success rates on the same held-out starts with the instruction: of the trained policy, of others beside it."""
    from agent.collect.rollout import rollout
    from agent.measure.statistics import rate, successes
    from envs import registry
    from envs.starts import distinct
    from policies.action_codec import codec_for
    from policies.baselines import ExpertPolicy, RandomPolicy, ZeroPolicy, with_expert

    chosen = with_expert(registry.task(task))
    codec, seeds = codec_for(chosen), distinct(chosen, "heldout", 12 * episodes)
    shown = rollout(chosen, ExpertPolicy(chosen, codec), [(seed, 0) for seed in seeds])
    shown = [e for e in shown if e.steps and e.steps[0].observation.instruction == instruction][:episodes]
    starts = [(e.seed, e.attempt) for e in shown]
    others = {"trained": policy, "random": RandomPolicy(codec.action.space), "zero": ZeroPolicy(codec.action.space)}
    rates = {name: rate(successes(rollout(chosen, each, starts))) for name, each in others.items()}
    return rates | {"expert": rate(successes(shown))}


def as_trainer() -> None:
    """In LeRobot's environment: its own `lerobot-train`, with the options of the command line."""
    _import_torchvision()
    from lerobot.scripts.lerobot_train import main

    main()


def as_policy(checkpoint: Path) -> None:
    """In LeRobot's environment: answers what the simulator's process asks."""
    _import_torchvision()
    import numpy as np
    import torch
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.policies.factory import get_policy_class, make_pre_post_processors

    answers, sys.stdout = sys.stdout.buffer, sys.stderr
    kind = PreTrainedConfig.from_pretrained(checkpoint).type
    policy = get_policy_class(kind).from_pretrained(checkpoint).eval()
    before, after = make_pre_post_processors(policy.config, pretrained_path=str(checkpoint))
    while True:
        try:
            frames, numbers = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        images = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255
        batch = {"observation.images.camera": images, "observation.state": torch.tensor(numbers)}
        with torch.inference_mode():
            policy.reset()  # no observation and no action of the batch before
            actions = after(policy.select_action(before(batch)))
        pickle.dump([np.asarray(a, np.float32) for a in actions.numpy()], answers)
        answers.flush()


def _import_torchvision() -> None:
    # By its folder: LeRobot's environment has none of this project's packages, and may have a package named tests.
    sys.path.append(str(Path(__file__).parents[1] / "families"))
    from torchvision_operators import import_torchvision

    import_torchvision()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--policy", choices=POLICIES, default="diffusion")
    parser.add_argument("--task", default="reach")
    parser.add_argument("--instruction", default="reach the green cylinder")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--episodes", type=int, default=100)
    given = parser.parse_args()
    python = Path(os.environ["LEROBOT_VENV"]) / "bin" / "python"
    if not (given.out / LAST).is_dir():
        trained(given.dataset, given.out, given.policy, given.steps, python)
    policy = Trained(given.out / LAST, python)
    print(json.dumps(played(policy, given.task, given.instruction, given.episodes), indent=1))
    policy.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--as-trainer"]:
        del sys.argv[1]
        as_trainer()
    elif sys.argv[1:2] == ["--as-policy"]:
        as_policy(Path(sys.argv[2]))
    else:
        main()

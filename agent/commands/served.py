"""A run whose policy is behind a server, tried before anything long starts: new adapters answer and judge once."""

import logging
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from agent.collect.workers import Job, judge, policy_of, release
from agent.config import Config
from envs.errors import UserError
from envs.observation import Observation
from envs.task import Task
from policies.backends.adapters.lora import is_adapted
from policies.backends.huggingface import HFBackend
from policies.backends.server.adapters import LoadedAdapters, acting, check_weights
from policies.backends.server.address import ServerAddress, parse
from policies.backends.server.backend import ServerBackend
from policies.base import find_policy

log = logging.getLogger("handeye")


def check_served(config: Config, backend: HFBackend, shown: Sequence[tuple[Task, Observation]]) -> None:
    """Raises UserError where the server has other weights than those that are trained here, cannot load adapters from
    beside the run's folder, or lacks what an answer or a verdict needs.

    backend: as it will be trained. shown: observations to ask about.
    """
    address, weights = parse(config.policy), find_policy(config.policy)
    if not is_adapted(backend.model):
        raise UserError(
            f"policy {config.policy!r} is a server, which is given adapters, not whole models; valid: a section "
            "model.lora, or weights that are adapters"
        )
    server = ServerBackend.connect(address)
    with closing(server.client):
        if not check_weights(server.card, address.server, weights, config.model.base):
            log.warning(f"server {address.server} tells no hash of its weights: they are taken for {str(weights)!r}")
    whole = config.model.lora.modules_to_save if config.model.lora else ()
    if whole and server.card.owned_by != "handeye":
        raise UserError(
            f"model.lora.modules_to_save = {list(whole)}: of the servers, only handeye serve loads these; valid: []"
        )
    beside = next(path for path in Path(config.out).resolve().parents if path.is_dir())
    with TemporaryDirectory(dir=beside, prefix=".handeye-adapters-") as folder:
        Path(folder).chmod(0o755)  # the server may be another user's
        backend.save(Path(folder))
        _try(config, acting(address, weights, Path(folder)), shown)


def _try(config: Config, player: ServerAddress, shown: Sequence[tuple[Task, Observation]]) -> None:
    """An answer and a verdict about each observation."""
    loaded = LoadedAdapters()
    try:
        for task, observation in shown:
            job = Job(task.name, player, model=config.model)
            loaded.use(player)
            with policy_of(job) as policy:
                (decision,) = policy.act([observation], [np.random.default_rng(0)])
                judge(policy, [observation], [decision.answer])
    finally:
        release()
        loaded.close()

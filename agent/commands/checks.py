"""Checks of a config on this machine, before anything is written or trained."""

import http.client
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from agent.collect.cluster.connection import check_engine
from agent.collect.starts import check_practice, gate_seeds, heldout_seeds, practice_seeds, pretraining_seeds
from agent.commands.arguments import check_practised
from agent.commands.probing import first_observation, probe_apart
from agent.commands.served import check_served
from agent.config import Config, Pretrain, Tracking
from agent.optimise.preflight import CHECKS, check_sft, two_pairs
from agent.optimise.pretrain import seed_policy
from agent.optimise.processes.distributed import check_devices
from agent.optimise.recorded import check_recorded, is_recorded
from agent.record.console import say
from agent.record.provenance import check_words
from agent.record.tracking.sinks import check_installed
from envs import registry
from envs.checks.random_steps import has_random_steps
from envs.declared import ranges_file
from envs.errors import UserError, first_line, unknown
from envs.foreign.teaching import Sb3Expert
from envs.observation import Observation
from envs.splits import seeds
from envs.task import DECLARED, Task
from policies.backend import Request
from policies.backends.huggingface import HFBackend
from policies.backends.image_size import resolve_image_size
from policies.backends.loading import load_trainable
from policies.backends.server.address import is_server, parse
from policies.base import NAMED, find_policy
from policies.baselines import with_expert
from policies.dialect import dialect_for
from policies.experts import cache

ANSWER_S = 5.0  # for W&B's server


def check_improve(config: Config) -> None:
    """Raises UserError for an unknown or missing task, policy or setting, for settings that exclude each other or with
    which the policy cannot be trained, for too many episodes, and on a machine that cannot render."""
    check_installed(config.tracking)
    check_engine(config.engine)
    _check_replicated(config)
    names = (*config.tasks, *config.evaluation.tasks)
    tasks = [registry.task(name) for name in dict.fromkeys(names)]
    probe_apart(names)
    seen = _observe(tasks)
    check_practised(config.tasks)
    seed = (parse(config.policy).weights or "") if is_server(config.policy) else config.policy
    if seed and seed not in NAMED and Path(seed).resolve().is_relative_to(Path(config.out).resolve()):
        raise UserError(f"policy {config.policy!r} lies in the run folder {config.out!r}; valid: another --out")
    branch = config.branch
    is_repeated = branch.failures and branch.repeats > 1 and not branch.follow_temperature
    if is_repeated and not any(has_random_steps(registry.task(name)) for name in config.tasks):
        raise UserError(
            f"branch.repeats = {branch.repeats} of what is greedy and meets nothing random; valid: 1, or a "
            "branch.follow_temperature"
        )
    if branch.failures and branch.starts:
        raise UserError(f"branch.failures = {branch.failures} and branch.starts = {branch.starts}; valid: one of them")
    if branch.moments > 1 and branch.where in ("bisect", "critic"):
        raise UserError(
            f"branch.moments = {branch.moments} where {branch.where!r} finds one; valid: 1, or where: uniform, early"
        )
    _check_rewardless(config)
    _check_shown(config)
    wordless = [name for name in config.tasks if registry.task(name).teacher.captions is None]
    if config.select.sight and wordless:
        without = f"task {wordless[0]!r} has no captions"
        raise UserError(f"select.sight = {config.select.sight}, and {without}; valid: 0, or a task with `sees`")
    for number in (1, config.rounds):
        check_practice(config, number)
        seeds("gate", config.gate.episodes, (number - 1) * config.gate.episodes)
    seeds("heldout", config.evaluation.episodes)
    for name in config.evaluation.tasks:
        heldout_seeds(config, name)
    for name in config.tasks:
        for number in range(1, config.rounds + 1):
            gate_seeds(config, number, name)
            practice_seeds(config, number, name)
    check_words(find_policy(config.policy), names)
    backend = load_trainable(find_policy(config.policy), config.model)
    shown = _shown(seen, backend)
    rows = two_pairs(shown, backend)
    sections = {method: getattr(config, method) for method in config.optimise}
    for method, settings in sections.items():
        CHECKS[method](method, settings, backend, rows)
    check_devices(config.model, sections)
    if is_server(config.policy):
        check_served(config, backend, shown)
    check_login(config.tracking)


def _check_replicated(config: Config) -> None:
    """Raises UserError for replicas of a policy that they would not be asked for, or could not hold."""
    if not config.engine.policies:
        return
    given = f"engine.policies = {config.engine.policies}, and"
    if is_server(config.policy):
        raise UserError(f"{given} policy is a server, which the workers ask; valid: 0, or a checkpoint")
    if config.model.shared is False:
        raise UserError(f"{given} model.shared = False: each worker holds the policy; valid: 0, or shared: auto, true")
    if config.model.device not in ("auto", "cpu") and not config.engine.gpus:
        raise UserError(
            f"{given} model.device = {config.model.device!r} without engine.gpus; valid: gpus, or device: cpu"
        )


def _check_rewardless(config: Config) -> None:
    """Raises UserError for select.by = critic with a setting that uses the environment's reward or success."""
    rewarded = {
        "collect.archived": config.collect.archived,
        "collect.frontier": config.collect.frontier,
        "branch.failures": config.branch.failures,
        "branch.starts": config.branch.starts,
        "select.relabel": config.select.relabel,
        "select.hindsight": config.select.hindsight,
    }
    for key, value in rewarded.items():
        if value and config.select.by == "critic":
            raise UserError(f"{key} = {value} needs rewards, and select.by = 'critic'; valid: {type(value)(0)}")


def _check_shown(config: Config) -> None:
    """Raises UserError for select.by = expert without an expert, or with a training on measured outcomes: these are of
    the policy's answers."""
    if config.select.by != "expert":
        return
    if config.select.relabel:
        raise UserError("select.by = 'expert', and select.relabel = True is of successes; valid: False")
    if config.optimise != ("sft",):
        raise UserError(f"select.by = 'expert' is imitation, and optimise = {list(config.optimise)}; valid: [sft]")
    for name in config.tasks:
        if with_expert(registry.task(name)).teacher.expert is None:
            raise UserError(f"select.by = 'expert', and task {name!r} has none; valid: reward or critic")


def check_pretrain(config: Pretrain) -> None:
    """Raises UserError for an unknown or missing task, expert, start or setting, for a stage's settings with which the
    policy cannot be trained, for too many scenes, and on a machine that cannot render.

    A task whose ranges of state words are still to be measured is checked without these words, and an expert that is
    still to be trained by its settings.
    """
    check_installed(config.tracking)
    probe_apart(config.tasks)
    known = [registry.as_measured(name) for name in dict.fromkeys(config.tasks)]
    seen = _observe(known)
    check_practised(config.tasks)
    if config.model.lora and (config.new_words or not config.start):
        key = "new_words = true" if config.new_words else "start = null"
        raise UserError(f"model.lora trains no embeddings, and {key}; valid: a start, its words, or no model.lora")
    if config.model.devices > 1:
        raise UserError(f"model.devices = {config.model.devices}, and pretraining takes one; valid: 1")
    for name in config.experts:
        if name not in config.tasks:
            raise unknown("task in experts", name, config.tasks)
    tasks = {task.name: _demonstrated(task, config.experts.get(task.name)) for task in known}
    for name, stage in config.stages.items():
        named = {"scenes": stage.scenes} if isinstance(stage.scenes, dict) else {}
        for key, some in (named | {"demonstrations": stage.demonstrations}).items():
            for task in some:
                if task not in config.tasks:
                    raise unknown(f"task in stages.{name}.{key}", task, config.tasks)
        if stage.scenes and not any(_has_captions(task) for task in tasks.values() if stage.scenes_of(task.name)):
            raise UserError(f"stages.{name}.scenes = {stage.scenes}, but no task tells what is seen; valid: 0")
        for task in tasks.values():
            if stage.critiques and not task.teacher.endings:
                raise UserError(f"stages.{name}.critiques = {stage.critiques}: {task.name!r} tells no ends; valid: 0")
            if stage.demonstrations.get(task.name) and not (task.teacher.expert or task.teacher.shown_by):
                raise UserError(f"task {task.name!r} has no expert; valid: one in experts, see handeye baseline")
        for task in config.tasks:
            seeds("practice", stage.scenes_of(task), stage.first_scene)
            seeds("practice", stage.demonstrations.get(task, 0), stage.first_demonstration)
        seeds("practice", stage.critiques, stage.first_critique)
        for task in tasks.values():
            some = stage.scenes_of(task.name) or stage.demonstrations.get(task.name) or stage.critiques
            pretraining_seeds(task, 1 if some else 0, stage.first_scene)
    backend = seed_policy(config, tasks.values())
    rows = two_pairs(_shown(seen, backend), backend)
    for name, stage in config.stages.items():
        check_sft(f"stages.{name}.sft", stage.sft, backend, rows)
    check_login(config.tracking)


def _has_captions(task: Task) -> bool:
    return task.teacher.captions is not None or (task.suite == DECLARED and ranges_file(task.name) is not None)


def _demonstrated(task: Task, model: Path | None) -> Task:
    """The task with its expert, unless that is to be trained first. Raises UserError for one that cannot be."""
    if not model and is_recorded(task):
        check_recorded(task)
    if model or not isinstance(task.teacher.shown_by, Sb3Expert) or cache.cached(task):
        return with_expert(task, model)
    from agent.measure.baseline import check_settings, expert_settings  # slow to import, and only needed here

    check_settings(expert_settings(task))
    return task


def _shown(seen: list[tuple[Task, Observation]], backend: HFBackend) -> list[tuple[Task, Observation]]:
    """The same with frames of the size that the model is shown. Raises UserError for one that cannot be rendered, and
    for a prompt that is longer than the model's positions."""
    size = resolve_image_size(backend.settings.image_size, backend.processor)
    shown = _observe(task.sized(size) for task, _ in seen) if size else seen
    for task, observation in shown:
        asked = dialect_for(backend.settings, backend.template, task).act(observation)
        backend.check_length(Request(observation.frames, asked))
    return shown


def _observe(tasks: Iterable[Task]) -> list[tuple[Task, Observation]]:
    """The tasks, each with its first observation."""
    return [(task, first_observation(task)) for task in tasks]


def check_login(settings: Tracking) -> None:
    """For W&B online: raises UserError without a key, and for one that the server refuses. A server that does not
    answer is one line: it ends no run."""
    if settings.mode != "online" or "wandb" not in settings.sinks:
        return
    import wandb  # slow to import, and only needed here

    try:
        wandb.login(verify=False)  # prompts for a key at a terminal
        address = wandb.setup().settings.base_url
        if why := _does_not_answer(address):
            say(f"Weights & Biases does not answer at {address}: {why}; the run will be in metrics.jsonl")
        else:
            wandb.login(verify=True)
    except wandb.Error as error:
        valid = "valid: a key of that server by `wandb login`, or tracking.mode: offline, disabled"
        raise UserError(f"tracking.mode = 'online': {first_line(error)} {valid}") from error


def _does_not_answer(address: str) -> str:
    """Why nothing at this address answers HTTP; empty where something does, whatever it says."""
    try:
        urllib.request.urlopen(address, timeout=ANSWER_S).close()
    except urllib.error.HTTPError:
        return ""
    except urllib.error.URLError as error:
        return str(error.reason)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return first_line(error)
    return ""

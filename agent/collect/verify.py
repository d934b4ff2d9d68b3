"""The replay certificate: an episode must happen again, bit for bit, when its actions are repeated."""

from collections.abc import Callable, Sequence
from typing import Self

import numpy as np

from agent.collect.budget import Spent, restore_views, views
from agent.collect.processes.serving import beat
from agent.organise.episode import Episode, simulation_versions
from envs.checks.restores import check_repeats
from envs.errors import UserError
from envs.foreign.actions import same
from envs.observation import Observation
from envs.registry import task
from envs.snapshot import Restorable
from envs.task import Task
from policies.action_codec import AnswerCodec, codec_for


class Verifier:
    """Simulates episodes again, in its own environments. As a rollout's subscriber it marks those that differ broken.

    spent: steps, frames and certificates so far. find: gives the task of a name, with frames of a size.
    """

    def __init__(self, find: Callable[[str, int | None], Task] = task) -> None:
        self.spent, self._envs, self._find = Spent(), dict[tuple[str, int | None], Restorable](), find

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for env in self._envs.values():
            env.close()

    def flaw(self, episode: Episode) -> str:
        """Why the episode gets no certificate; empty where it gets one.

        The episode is simulated with frames of its own size. Compared are the package versions; at each step the
        state's fingerprint, the observation, the action that the answer decodes to, and the reward; at the end also
        success and the kind of ending.

        Raises UserError where a difference shows that the task's episodes do not happen again at all.
        """
        if episode.ending == "broken":
            return episode.error
        for name, version in simulation_versions().items():
            if episode.versions.get(name) != version:
                return f"made with {name} {episode.versions.get(name)}, here is {version}"
        key = episode.task, episode.image_size
        try:
            chosen = self._find(*key)
            if key not in self._envs:
                self._envs[key] = chosen.make()
            self.spent.certificates += 1
            flaw = _difference(chosen, codec_for(chosen), self._envs[key], episode, self.spent)
        except Exception as error:  # whatever an environment raises, or an answer that does not parse
            if env := self._envs.pop(key, None):  # its state is undefined
                env.close()
            return f"{type(error).__name__}: {error}"
        if flaw and episode.steps and not episode.begins_at:
            check_repeats(chosen, episode.seed, episode.options, [step.decision.action for step in episode.steps])
        return flaw

    def on_episode(self, episode: Episode) -> None:
        deny(episode, self.flaw(episode))


def find_flaws(episodes: Sequence[Episode]) -> tuple[list[str], Spent]:
    """Of each episode why it gets no certificate (`Verifier.flaw`), and what was spent to find out."""
    flaws = []
    with Verifier() as verifier:
        for episode in episodes:
            beat()
            flaws.append(verifier.flaw(episode))
        return flaws, verifier.spent


def is_exact(name: str) -> bool:
    """Whether a task's episodes are said to happen again; so they are of a task that cannot be found."""
    try:
        return task(name).exact
    except UserError:  # the certificate names it
        return True


def deny(episode: Episode, flaw: str) -> None:
    """Mark an episode with a flaw as broken, so that nothing is learned from it."""
    if flaw and episode.ending != "broken":
        episode.success, episode.ending, episode.error = False, "broken", f"no certificate: {flaw}"


def _difference(chosen: Task, codec: AnswerCodec, env: Restorable, episode: Episode, spent: Spent) -> str:
    """The first difference between the episode and a simulation of its actions; empty where there is none."""
    moment = episode.begins_at

    def observe() -> Observation:
        observation = chosen.observe(env)
        spent.verify_frames += views(chosen, observation)
        return observation

    if moment:
        env.restore(moment.snapshot)
        spent.verify_env_steps += len(moment.snapshot.repeated)
        spent.verify_frames += restore_views(chosen, moment.snapshot) * views(chosen, moment.observation)
    else:
        env.reset(seed=episode.seed, options=episode.options)
    redrawn = dict(episode.redrawn or ())
    ending, success, before, observed = "", False, set(), {env.observation_key()}
    for i, step in enumerate(episode.steps):
        if ending:
            return f"step {i}: {ending} before"
        lagging = moment and i == 0  # its frame was rendered from derived poses that lag MuJoCo's state by a step
        seen = None if lagging else observe().key()  # first, as in a rollout: the first picture may change attributes
        if env.fingerprint() != step.fingerprint:
            return f"step {i}: another state"
        before.add(step.observation.computed_key())
        if seen not in (None, step.observation.computed_key()):
            return f"step {i}: another observation"
        answer, action = step.decision.answer, step.decision.action
        if answer and not same(codec.decode(answer)[1], action):
            return f"step {i}: {answer!r} does not say the action {action}"
        if i in redrawn:
            env.redraw(redrawn[i])
        _, reward, terminated, truncated, info = env.step(action)
        spent.verify_env_steps += 1
        observed.add(env.observation_key())
        if float(reward) != step.reward:
            return f"step {i}: reward {reward}, recorded {step.reward}"
        ending = "terminated" if terminated else "truncated" if truncated else ""
        success = bool(info["success"])
    last = observe()
    if not ending and last.key() in before:
        ending, success = "looped", False
    if (ending, success) != (episode.ending, episode.success):
        return f"ends {ending or 'nowhere'}, success {success}; recorded {episode.ending}, {episode.success}"
    if env.fingerprint() != episode.final_fingerprint:
        return "another final state"
    if not np.array_equal(last.frames[-1], episode.final_frame) or last.proprioception != episode.final_proprioception:
        return "another final observation"
    if max(len(before), len(observed)) > 1 and len({episode.final_fingerprint, *_fingerprints(episode)}) == 1:
        return "the state's fingerprint stands still while what is observed changes: it shows nothing of the simulation"
    return ""


def _fingerprints(episode: Episode) -> set[bytes]:
    return {step.fingerprint for step in episode.steps}

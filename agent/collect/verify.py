"""The replay certificate: what is learned from must happen again, bit for bit, when its actions are taken again."""

from typing import Self

import numpy as np

from agent.organise.episode import Episode, simulation_versions
from envs.registry import task
from envs.snapshot import Restorable
from envs.task import Task
from policies.action_codec import AnswerCodec, codec_for


class Verifier:
    """Simulates episodes again, in environments of its own. As a rollout's subscriber, it breaks those that differ."""

    def __init__(self) -> None:
        self._envs: dict[str, Restorable] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for env in self._envs.values():
            env.close()

    def flaw(self, episode: Episode) -> str:
        """What denies the episode its certificate; empty if nothing does.

        Compared are versions, and at each step the state's fingerprint, all that was observed, the action that the
        answer says, and the reward; at the end also success and how it ended.
        """
        if episode.ending == "broken":
            return episode.error
        for name, version in simulation_versions().items():
            if episode.versions.get(name) != version:
                return f"made with {name} {episode.versions.get(name)}, here is {version}"
        try:
            chosen = task(episode.task)
            if chosen.name not in self._envs:
                self._envs[chosen.name] = chosen.make()
            return _difference(chosen, codec_for(chosen), self._envs[chosen.name], episode)
        except Exception as error:  # whatever an environment raises, or an answer that does not parse
            if env := self._envs.pop(episode.task, None):  # who knows in what state it is
                env.close()
            return f"{type(error).__name__}: {error}"

    def on_episode(self, episode: Episode) -> None:
        if episode.ending != "broken" and (flaw := self.flaw(episode)):
            episode.success, episode.ending, episode.error = False, "broken", f"no certificate: {flaw}"


def _difference(chosen: Task, codec: AnswerCodec, env: Restorable, episode: Episode) -> str:
    """The first difference between the episode and what happens when its actions are taken again; empty if none."""
    moment = episode.begins_at
    if moment:
        env.restore(moment.snapshot)
    else:
        env.reset(seed=episode.seed, options=episode.options)
    ending, success = "", False
    for i, step in enumerate(episode.steps):
        if ending:
            return f"step {i}: {ending} before"
        if env.fingerprint() != step.fingerprint:
            return f"step {i}: another state"
        recorded_before = moment and i == 0  # its picture was taken before MuJoCo's last step took effect on it
        if not recorded_before and chosen.observe(env).key() != step.observation.key():
            return f"step {i}: another observation"
        answer, action = step.decision.answer, step.decision.action
        if answer and not np.array_equal(codec.decode(answer)[1], action):
            return f"step {i}: {answer!r} does not say the action {action}"
        _, reward, terminated, truncated, info = env.step(action)
        if float(reward) != step.reward:
            return f"step {i}: reward {reward}, recorded {step.reward}"
        ending = "terminated" if terminated else "truncated" if truncated else ""
        success = bool(info["success"])
    last = chosen.observe(env)
    if not ending and last.key() in {step.observation.key() for step in episode.steps}:
        ending, success = "looped", False
    if (ending, success) != (episode.ending, episode.success):
        return f"ends {ending or 'nowhere'}, success {success}; recorded {episode.ending}, {episode.success}"
    if env.fingerprint() != episode.final_fingerprint:
        return "another final state"
    if not np.array_equal(last.frames[-1], episode.final_frame) or last.proprioception != episode.final_proprioception:
        return "another final observation"
    return ""

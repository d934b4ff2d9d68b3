"""Hindsight experience replay: a failure that reached another goal is simulated again under that goal, as a success.

After Andrychowicz et al. (2017), "Hindsight Experience Replay". Here a goal is words of the instruction, and the
environment itself decides whether it was reached.
"""

from collections.abc import Iterable
from dataclasses import replace

from agent.collect.budget import Spent, views
from agent.organise.episode import Episode, Step, simulation_versions
from envs.registry import task
from envs.snapshot import Restorable
from envs.task import Task
from policies.action_codec import action_of, joined, thought_of


def relabelled(episodes: Iterable[Episode]) -> tuple[list[Episode], Spent]:
    """The failures that succeed under another goal of their scene, relabelled, and what their simulation spent."""
    found, spent, envs = [], Spent(), {}
    try:
        for episode in episodes:
            chosen = task(episode.task, episode.image_size)
            if episode.success or episode.ending == "broken" or not chosen.language.names_goal:
                continue
            env = envs[chosen] = envs.get(chosen) or chosen.make()
            env.reset(seed=episode.seed, options=episode.options)
            for goal in chosen.language.other_goals(env):
                attempt = _under(goal, chosen, env, episode)
                spent.env_steps += len(attempt.steps)
                spent.frames += (len(attempt.steps) + 1) * views(chosen, attempt.steps[0].observation)
                if attempt.success:
                    found.append(attempt)
    finally:
        for env in envs.values():
            env.close()
    return found, spent


def _under(goal: str, chosen: Task, env: Restorable, episode: Episode) -> Episode:
    """The episode's actions simulated under another goal, until the environment terminates or truncates."""
    options = episode.options | {"goal": goal}
    result = Episode(chosen.name, episode.seed, episode.attempt, options=options, versions=simulation_versions())
    env.reset(seed=episode.seed, options=options)
    for step in episode.steps:
        observation, fingerprint = chosen.observe(env), env.fingerprint()
        _, reward, terminated, truncated, info = env.step(step.decision.action)
        original = step.decision.answer
        answer = joined(chosen.language.about(thought_of(original), goal), action_of(original))
        decision = replace(step.decision, answer=answer, verdict=None)
        result.steps.append(Step(observation.packed(), decision, float(reward), fingerprint))
        if terminated or truncated:
            last = chosen.observe(env)
            result.ending = "terminated" if terminated else "truncated"
            result.success, result.final = bool(info["success"]), last.last_frame()
            result.final_proprioception, result.final_fingerprint = last.proprioception, env.fingerprint()
            break
    return result

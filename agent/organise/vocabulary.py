"""The words of which a new tokenizer makes single tokens."""

from collections.abc import Iterable

from envs.task import Task
from policies import critic, prompt
from policies.action_codec import codec_for


def words(tasks: Iterable[Task]) -> tuple[str, ...]:
    """The vocabulary of a new tokenizer: words of the tasks' languages, of their actions, of prompts and verdicts."""
    tasks = list(tasks)
    language = dict.fromkeys(word for task in tasks for word in task.language.words)
    actions = {word for task in tasks for word in codec_for(task).action.vocabulary}
    return (*language, *sorted(actions), "move", *prompt.WORDS, *critic.VERDICTS)

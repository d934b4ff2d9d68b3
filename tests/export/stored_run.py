"""A run's folder with chosen episodes, as the stages of `handeye improve` leave it, without playing or training."""

from dataclasses import asdict

from agent.config import Config
from agent.organise.store import EpisodeStore
from agent.record.provenance import versions
from agent.record.run.journal import Done, Journal, hashes
from agent.record.rundir import plain
from envs.validation import checked

STAGES = {"episodes": "practise", "branches": "branch", "gate/candidate": "gate", "gate/incumbent": "gate"}


def stored_run(folder, stores, policy="seed", tasks=("toy",), pairs=0, **changes):
    """stores: `round_001/episodes` and the like -> episodes. pairs: that the stage `prefer` says it made. changes: of
    the config."""
    folder.mkdir(parents=True)
    config = checked(Config, {"policy": str(policy), "tasks": list(tasks), "out": str(folder), **changes})
    journal = Journal(folder)
    journal.begin({"config": plain(asdict(config)), "versions": versions(), "provenance": {"source": {}}})
    for output, episodes in stores.items():
        EpisodeStore(folder / output).append(episodes)
        head, _, rest = output.partition("/")
        number = int(head[6:]) if head != "heldout" else 0
        stage = STAGES.get(rest, rest)
        row = {"episodes": len(episodes), "successes": sum(e.success for e in episodes)}
        journal.add(Done(number, stage, row, outputs={output: hashes(folder / output)}))
        if stage == "practise":
            journal.add(Done(number, "prefer", {"pairs": pairs}))
    return folder

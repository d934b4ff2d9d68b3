"""How large the report of 10,000 held-out episodes is, and what it takes: python tests/report/many.py FOLDER"""

import sys
import time
from pathlib import Path

import made

from agent.measure.reporting import run_report

STARTS = 2500  # of each of two tasks, each played by both policies: 10,000 episodes


def main(folder: Path) -> None:
    made.STEPS = 16  # the time limit of the tabletop's tasks
    with made.registered():
        path = made.run(folder / "run", before="0110" * (STARTS // 4), after="1011" * (STARTS // 4))
        started = time.process_time()
        page = run_report.report(path)
    print(f"{4 * STARTS} episodes: {page.stat().st_size / 1e6:.1f} MB, {time.process_time() - started:.0f} CPU-seconds")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

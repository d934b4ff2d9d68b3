"""`handeye completion`: the shell completes commands and options."""

import subprocess
import sys
from dataclasses import dataclass
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True)
class Completion:
    """A script that completes commands and options, for a shell: source <(handeye completion bash)."""

    shell: Positional[Literal["bash", "zsh", "tcsh"]]

    def run(self) -> None:
        """Prints the script, which tyro makes of the whole command line."""
        subprocess.run([sys.executable, "-m", "agent.cli", "--tyro-print-completion", self.shell], check=True)

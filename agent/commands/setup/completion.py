"""`handeye completion`: the shell completes commands and options."""

from dataclasses import dataclass
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True)
class Completion:
    """A script that completes commands and options, for a shell: source <(handeye completion bash)."""

    shell: Positional[Literal["bash", "zsh", "tcsh"]]

    def run(self) -> None:
        """Prints the script, and exits."""
        from tyro.conf import PositionalRequiredArgs
        from tyro.extras import subcommand_cli_from_dict

        from agent.cli import COMMANDS

        arguments = ["--tyro-print-completion", self.shell]
        subcommand_cli_from_dict(COMMANDS, prog="handeye", args=arguments, config=(PositionalRequiredArgs,))

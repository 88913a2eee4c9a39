"""`pixelmill completion`: what makes a shell complete commands, options, models and stores."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_PIXELMILL_COMPLETE"
"""By which the shell's part asks: click's own name for it."""


@click.command(short_help="Complete commands, models and stores in a shell.")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what makes SHELL complete commands, options, models (also behind commas), stores and files.

    \b
      bash:  echo 'eval "$(pixelmill completion bash)"' >> ~/.bashrc
      zsh:   echo 'eval "$(pixelmill completion zsh)"' >> ~/.zshrc
      fish:  pixelmill completion fish > ~/.config/fish/completions/pixelmill.fish

    Then open another terminal. Bash has to be 4.4 or later, as it is everywhere but on macOS; zsh needs `compinit`
    before that line.
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind
    whole = click.get_current_context().find_root().command
    click.echo(kind(whole, {}, "pixelmill", VARIABLE).source())


def settle_completion() -> None:
    """Bash asks for `--store=x` in three words, of which click would take the last for an argument."""
    from click.shell_completion import BashComplete, add_completion_class

    class Bash(BashComplete):
        def get_completion_args(self) -> tuple[list[str], str]:
            arguments, typed = super().get_completion_args()
            return [argument for argument in arguments if argument != "="], typed

    add_completion_class(Bash)

"""The commands, by group; nothing heavy is imported before a command runs."""

from __future__ import annotations

import typer

from fewtune.cli import data, look, machine, money, run, serve, use

app = typer.Typer(
    name="fewtune",
    help="Turn a few hundred examples into the best language model for them that the money buys.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for group in (run, data, look, money, use, serve, machine):
    group.register(app)

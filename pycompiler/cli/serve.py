"""`recpile serve`: runs the C++ server. Everything after the command is recpile-server's own."""

from __future__ import annotations

import argparse
import os

from recpile.pycompiler.server_process import server_binary


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "serve", help="serve an artifact with the C++ server", description=__doc__, add_help=False, prefix_chars="\0"
    )
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Replaces this process, so that signals reach the server itself."""
    binary = server_binary()
    os.execv(binary, [str(binary), *options.arguments])

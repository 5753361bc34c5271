"""`recpile record`: runs the C++ server, which writes a share of its requests with their answers to a file."""

from __future__ import annotations

import argparse
import os

from recpile.pycompiler.recording.read import Recording
from recpile.pycompiler.server_process import server_binary

_EXAMPLE = """\
examples:
  recpile record live.rec ranker.pt2 --record-share 0.05     serve, and record one request in twenty
  recpile record --show live.rec                             what a recording holds
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "record",
        help="serve, and record live requests with their answers",
        description=__doc__ + " See docs/recording.md.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--show", action="store_true", help="start nothing: print what FILE holds")
    parser.add_argument("recording", metavar="FILE", help="to write; a recording that is there is gone on with")
    parser.add_argument(
        "server",
        nargs=argparse.REMAINDER,
        metavar="ARTIFACT ...",
        help="all that follows is for recpile-server, with --record-share (0.01) and --record-max-bytes (1 GiB)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if options.show:
        return _show(Recording(options.recording))
    if not options.server:
        raise ValueError("no artifact: give what recpile-server is to serve behind FILE; or --show in front of it")
    return _serve(options.recording, options.server)


def _serve(recording: str, arguments: list[str]) -> int:
    """Replaces this process, so that signals reach the server itself."""
    binary = server_binary()
    os.execv(binary, [str(binary), "--record", recording, *arguments])


def _show(recording: Recording) -> int:
    for (model, version), requests in recording.models.items():
        print(f"{model} version {version}: {requests:,} requests")
    print(f"{len(recording):,} requests in {recording.seconds:.3f} s, {recording.path.stat().st_size:,} bytes")
    if recording.damage:
        print(recording.damage)
    return 0

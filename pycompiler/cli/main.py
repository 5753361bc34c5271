"""The `recpile` command."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings

from recpile.pycompiler.artifact.manifest import recpile_version
from recpile.pycompiler.cli import (
    checkpoint,
    debug,
    doctor,
    eval,
    export,
    inspect,
    record,
    replay,
    run,
    schema,
    serve,
    verify,
)

_COMMANDS = (export, checkpoint, schema, doctor, inspect, run, eval, debug, verify, serve, record, replay)


def main(argv: list[str] | None = None) -> int:
    """Returns 0, 1 when a check fails (doctor, verify), or 2 for what the user can mend."""
    parser = argparse.ArgumentParser(
        prog="recpile", description="Compiles a trained recommendation model into one artifact, and runs it."
    )
    parser.add_argument("--version", action="version", version=f"recpile {recpile_version()}")
    parser.add_argument("--traceback", action="store_true", help="on an error, show where in recpile it arose")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_parser(commands)
    options = parser.parse_args(argv)
    quiet_libraries()
    try:
        return options.run(options)
    except KeyboardInterrupt:
        return 130
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        if options.traceback:
            raise
        print(f"recpile {options.command}: {error}", file=sys.stderr)
        return 2


def quiet_libraries() -> None:
    """What torch and its parts say of themselves is not about the user's model."""
    warnings.simplefilter("ignore")
    for name in ("torch", "torch.fx._symbolic_trace", "torchrec", "root"):
        logging.getLogger(name).setLevel(logging.ERROR)


if __name__ == "__main__":
    sys.exit(main())

"""The options by which every command finds a model, its schema and its checkpoint."""

from __future__ import annotations

import argparse
from dataclasses import dataclass


@dataclass(frozen=True)
class ModelOptions:
    """What the user said beyond entry point and checkpoint. Files are paths; see docs/checkpoints.md."""

    schema: str | None = None
    drop_outputs: tuple[str, ...] = ()
    checkpoint_mapping: str | None = None
    checkpoint_key: str | None = None

    @staticmethod
    def of(options: argparse.Namespace) -> ModelOptions:
        return ModelOptions(
            options.schema, tuple(options.drop_output), options.checkpoint_mapping, options.checkpoint_key
        )


def add_schema_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--schema", metavar="FILE", help="the input schema as YAML, for an entry that returns only a model"
    )
    parser.add_argument(
        "--drop-output",
        action="append",
        default=[],
        metavar="NAME",
        help="leave out an output (a loss, an auxiliary head) and what only it needs; repeatable",
    )


def add_checkpoint_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint-mapping",
        "--mapping",
        metavar="FILE",
        help="YAML rules that rename the checkpoint's weights; `recpile checkpoint` shows what they do",
    )
    parser.add_argument(
        "--checkpoint-key",
        metavar="KEY",
        help="where in a training dict the weights are, if not obvious (a.b for nested)",
    )

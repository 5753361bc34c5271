"""`recpile export`: a trained checkpoint becomes one artifact."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.console import Console

from recpile.passes.custom import load_pass
from recpile.passes.dense_precision import DENSE_DTYPES, DensePrecision
from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.artifact.reader import Artifact
from recpile.pycompiler.checkpoints.read import checkpoint_bytes
from recpile.pycompiler.cli import onnx
from recpile.pycompiler.cli.console import make_console
from recpile.pycompiler.cli.diagnosis import print_diagnosis
from recpile.pycompiler.cli.doctor import add_doctor_options
from recpile.pycompiler.cli.entry import ENTRY_HELP, load_model
from recpile.pycompiler.cli.explain import print_explanation, print_left_out
from recpile.pycompiler.cli.model_options import ModelOptions, add_checkpoint_options, add_schema_options
from recpile.pycompiler.cli.precision import add_precision_options, check_options, with_precision
from recpile.pycompiler.cli.summary import print_summary
from recpile.pycompiler.compile import CompileOptions, compile_model
from recpile.pycompiler.doctor import diagnose, diagnose_artifact
from recpile.pycompiler.packing import TABLE_DTYPES
from recpile.pycompiler.quality import EvalData

_EXAMPLE = """\
example:
  recpile export recpile.models.dlrm --checkpoint demo-out/checkpoint.pt --output dlrm.pt2 \\
    --embedding-dtype int8 --embedding-dtype 'user*=fp16' --dense-dtype bf16
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "export",
        help="compile a trained checkpoint into one artifact",
        description=__doc__,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("entry", metavar="ENTRY", help=ENTRY_HELP)
    parser.add_argument(
        "--checkpoint",
        "-c",
        required=True,
        metavar="PATH",
        help="of the trained model: state_dict (.pt), safetensors, or a folder of torch.distributed.checkpoint",
    )
    add_checkpoint_options(parser)
    add_schema_options(parser)
    parser.add_argument(
        "--output", "-o", required=True, metavar="FILE", help="where to write the artifact, e.g. dlrm.pt2"
    )
    parser.add_argument(
        "--embedding-dtype",
        action="append",
        default=[],
        metavar="TYPE | TABLE=TYPE | >=SIZE=TYPE",
        help=f"{', '.join(TABLE_DTYPES)} for all tables (default fp32), for those that match a glob, or for the others "
        "that are so large in fp32 ('>=100MB=int4'); repeatable",
    )
    parser.add_argument(
        "--dense-dtype",
        action="append",
        default=[],
        metavar="TYPE | LAYER=TYPE",
        help=f"{', '.join(DENSE_DTYPES)} for all dense layers (default fp32), or for those whose name, or whose "
        "stage's, matches a glob; repeatable; int8-static needs --calibration",
    )
    add_precision_options(parser)
    parser.add_argument("--name", metavar="NAME", help="of the model when served (default: the output's file name)")
    parser.add_argument("--model-version", default="1", metavar="V", help="of the model when served (default 1)")
    parser.add_argument(
        "--eval-data",
        metavar="FILE",
        help=".npz of flat inputs and 'labels', .parquet or .csv: AUC and NE go into the manifest",
    )
    parser.add_argument(
        "--pass",
        dest="passes",
        action="append",
        default=[],
        metavar="MODULE:NAME",
        help="a pass of your own, run before tables are packed; repeatable (docs/custom_pass.md)",
    )
    parser.add_argument(
        "--onnx",
        metavar="FILE",
        help="write the fp32 model as ONNX too, checked with onnxruntime; what ONNX cannot express is named",
    )
    parser.add_argument("--explain", action="store_true", help="print what each pass did, and what it declined and why")
    parser.add_argument(
        "--doctor",
        action="store_true",
        help="first prove the captured graph on hard cases, and then the artifact; exit 1 if something is wrong",
    )
    add_doctor_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    output = Path(options.output)
    if output.suffix != ".pt2":
        raise ValueError(f"--output: got '{output}'; use a file name that ends in .pt2")
    check_options(options)
    if options.onnx:
        onnx.check_option(options.onnx)
    chosen = CompileOptions(
        name=options.name or output.stem,
        version=options.model_version,
        tables=TablePrecision.parse(options.embedding_dtype),
        dense_dtype=DensePrecision.parse(options.dense_dtype),
        eval_data=EvalData.load(options.eval_data) if (options.eval_data or "").endswith(".npz") else None,
        extra_passes=tuple(load_pass(text) for text in options.passes),
    )
    console = make_console()
    steps = _Steps(console)
    with console.status("load the model") as status:
        steps.begin("load the model")
        model, schema = load_model(options.entry, options.checkpoint, ModelOptions.of(options), console.print)

        def progress(step: str) -> None:
            steps.begin(step)
            status.update(step)

        with_types = with_precision(options, chosen, model, schema, console, progress, status.update)
        if with_types is None:
            steps.end()
            console.print(f"{output} was not written")
            return 1
        chosen = with_types
        diagnosis = None
        if options.doctor:
            progress("examine the captured graph")
            diagnosis = diagnose(model, schema, options.max_batch)
            if not diagnosis.healthy:
                steps.end()
                print_diagnosis(console, diagnosis)
                console.print(f"{output} was not written")
                return 1
        compiled = compile_model(model, schema, output, chosen, progress)
        if diagnosis:
            progress("examine the artifact")
            diagnosis = diagnose_artifact(diagnosis, model, schema, output)
    steps.end()
    if options.explain:
        print_explanation(console, compiled.program.log)
    print_left_out(console, compiled.captured)
    print_summary(console, Artifact(output, verify_checksums=False), checkpoint_bytes(options.checkpoint))
    console.print(f"largest difference from eager: {compiled.parity.max:.3g} (mean {compiled.parity.mean:.3g})")
    if diagnosis:
        print_diagnosis(console, diagnosis)
        if not diagnosis.healthy:
            return 1
    return onnx.run(console, options.onnx, model, compiled, chosen.eval_data) if options.onnx else 0


class _Steps:
    """A line a step when it ends, with its seconds; the step that runs is the console's status."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.step = ""
        self.began = 0.0

    def begin(self, step: str) -> None:
        self.end()
        self.step, self.began = step, time.monotonic()

    def end(self) -> None:
        if self.step:
            self.console.print(f"{time.monotonic() - self.began:6.1f} s  {self.step}")
        self.step = ""

"""Requests/s and latency at fixed open-loop rates: gRPC, HTTP and in process, with and without coalescing, beside a
Python server of the same model. `make bench-serving` runs it; it takes about five minutes and then stops by itself.

Rates are kept whatever the answers take, and a latency counts from the moment a request was due: what a slow server
makes others wait is in it. Load and server share this machine's cores.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from tritonclient.grpc import service_pb2

from benchmarks.serving import model as benchmark_model
from recpile.pycompiler.compile import CompileOptions, compile_model
from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.random_inputs import random_inputs
from recpile.pycompiler.server_process import ServerProcess

messages: Any = service_pb2


@dataclass(frozen=True)
class Options:
    """rates: requests/s to send, by candidates a request. seconds: of load for each rate."""

    out: Path
    load_program: Path
    dense: str = "bf16"
    seconds: float = 3
    rates: tuple[tuple[int, tuple[int, ...]], ...] = ((1, (200, 1000, 4000, 8000)), (200, (50, 150, 300)))


def export(options: Options) -> Path:
    """The artifact, made once."""
    artifact = options.out / f"serving-dlrm-{options.dense}.pt2"
    if not artifact.exists():
        module, schema = benchmark_model.build()
        compile_model(module, schema, artifact, CompileOptions("dlrm", dense_dtype=options.dense))
    return artifact


def write_requests(artifact: Path, out: Path, rows: int, timeout_us: int = 0) -> dict[str, Path]:
    """One request of `rows` candidates, with that timeout, as each transport sends it: files by the transport."""
    flat = {name: np.asarray(value) for name, value in random_inputs(DebugRuntime(artifact).manifest, rows, 1).items()}
    datatypes = {"float32": "FP32", "int64": "INT64"}
    rpc = messages.ModelInferRequest(model_name="dlrm")
    rpc.parameters["timeout"].int64_param = timeout_us
    header: list[dict] = []
    for name, array in flat.items():
        datatype = datatypes[str(array.dtype)]
        rpc.inputs.add(name=name, datatype=datatype, shape=array.shape)
        rpc.raw_input_contents.append(array.tobytes())
        size = {"binary_data_size": array.nbytes}
        header.append({"name": name, "datatype": datatype, "shape": array.shape, "parameters": size})
    text = json.dumps({"inputs": header, "parameters": {"binary_data_output": True, "timeout": timeout_us}}).encode()
    body = text + b"".join(array.tobytes() for array in flat.values())
    head = f"POST /v2/models/dlrm/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    head += f"Inference-Header-Content-Length: {len(text)}\r\n\r\n"
    files = {"grpc": out / f"grpc-{rows}.bin", "http": out / f"http-{rows}.bin"}
    files["grpc"].write_bytes(rpc.SerializeToString())
    files["http"].write_bytes(head.encode() + body)
    return files | {"engine": files["grpc"]}


@contextmanager
def python_server() -> Iterator[str]:
    """The address of a fresh python_server.py."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.serving.python_server", address], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"python_server.py exited with {process.wait()} before it was ready")
        yield address
    finally:
        process.terminate()
        process.wait()


def load(options: Options, kind: str, target: str, request: Path, rates: tuple[int, ...], *more: str) -> list[dict]:
    """Runs the load generator; one outcome for each rate."""
    command = [str(options.load_program), kind, target, str(request), "--seconds", str(options.seconds), *more]
    command += [part for rate in rates for part in ("--rate", str(rate))]
    limit = 120 + len(rates) * (options.seconds + 40)
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=limit)
    return [json.loads(line) for line in ran.stdout.splitlines()]


def run(options: Options, console: Console) -> Table:
    artifact = export(options)
    table = Table(title=f"DLRM, {options.dense} dense layers; latencies in ms, from the moment a request was due")
    for column in ("candidates", "sent req/s", "who answers", "answered/s", "p50", "p99", "p99.9", "failed", "dropped"):
        table.add_column(column, justify="left" if column == "who answers" else "right", no_wrap=True)

    for rows, rates in options.rates:
        files = write_requests(artifact, options.out, rows)
        measured: dict[str, list[dict]] = {}
        for label, limit in (("coalescing", 1024), ("one by one", 1)):
            flags = ("--max-batch-size", str(limit))
            console.print(f"{rows} candidates, {label}")
            with ServerProcess(artifact, *flags, "--max-queue-size", "100000") as server:
                for kind, target in (("grpc", server.grpc_url), ("http", server.url)):
                    measured[f"{kind}, {label}"] = load(options, kind, target, files[kind], rates)
            measured[f"in process, {label}"] = load(options, "engine", str(artifact), files["engine"], rates, *flags)
        console.print(f"{rows} candidates, Python server")
        with python_server() as address:
            measured["Python gRPC server, eager fp32"] = load(options, "grpc", address, files["grpc"], rates)
        for i, rate in enumerate(rates):
            table.add_section()
            for who, outcomes in measured.items():
                one = outcomes[i]
                latencies = [f"{one[key] / 1000:,.2f}" for key in ("p50_us", "p99_us", "p999_us")]
                answered = f"{one['answered'] / one['seconds']:,.0f}"
                table.add_row(
                    str(rows), f"{rate:,}", who, answered, *latencies, str(one["failed"]), str(one["dropped"])
                )
    return table


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """With what all programs of this folder are told."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("load_program", type=Path, help="recpile_load, which `make bench-serving` builds")
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    parser.add_argument("--dense", choices=["fp32", "bf16"], default="bf16", help="type of the dense layers")
    return parser


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--seconds", type=float, default=3, help="of load for each rate")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    console = Console(width=140)
    options = Options(given.out, given.load_program, given.dense, given.seconds)
    console.print(run(options, console))


if __name__ == "__main__":
    main()

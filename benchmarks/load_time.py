"""How soon a server of a large artifact gives its first answer, when the file is in the kernel's cache.

    python benchmarks/load_time.py [--gib 10] [--folder /tmp]

From starting the process to the answer, with checksums (the default) and without, and by where the tables lie. Needs
the disk for the artifact, and memory to cache it (and as much again for huge pages: left out if there is less).
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
import time
import urllib.request
from pathlib import Path

import big_artifact

from recpile.pycompiler.server_process import ServerProcess

REQUEST = json.dumps(
    {
        "inputs": [
            {"name": "s.values", "shape": [8], "datatype": "INT64", "data": [5] * 8},
            {"name": "s.lengths", "shape": [8, 1], "datatype": "INT64", "data": [1] * 8},
        ]
    }
).encode()
WAYS = {
    "mmap": ("--table-memory", "mmap"),
    "mmap, no checksums": ("--table-memory", "mmap", "--no-verify-checksums"),
    "hugepages": ("--table-memory", "hugepages"),
    "hugepages, no checksums": ("--table-memory", "hugepages", "--no-verify-checksums"),
}


def read(path: Path) -> float:
    """GB/s of reading the file once; afterwards it is cached."""
    began, size = time.monotonic(), 0
    with open(path, "rb", buffering=0) as file:
        buffer = bytearray(16 << 20)
        while got := file.readinto(buffer):
            size += got
    return size / 1e9 / (time.monotonic() - began)


def first_answer(path: Path, options: tuple[str, ...]) -> float:
    """Seconds from starting the server to its first answer."""
    began = time.monotonic()
    with ServerProcess(path, "--grpc-port", "off", "--metrics-port", "off", *options) as server:
        with urllib.request.urlopen(f"http://{server.url}/v2/models/{server.model}/infer", REQUEST) as answer:
            answer.read()
        return time.monotonic() - began


def available() -> int:
    (line,) = re.findall(r"MemAvailable: *(\d+) kB", Path("/proc/meminfo").read_text())
    return int(line) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=10)
    parser.add_argument("--folder", default=None, help="for the artifact")
    parser.add_argument("--artifact", type=Path, help="use this one; it is written if it is not there, and is left")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = options.artifact or Path(folder) / "large.pt2"
        if not path.exists():
            big_artifact.write(path, options.gib)
        size = path.stat().st_size
        read(path)
        print(f"{size / 1e9:.1f} GB, read from the cache at {read(path):.1f} GB/s")
        for way, flags in WAYS.items():
            if "hugepages" in flags and available() < 2.5 * size:
                print(f"{way:>24}: not measured, there is too little memory to do it without harm")
                continue
            times = [first_answer(path, flags) for _ in range(options.runs)]
            middle = f"{statistics.median(times):5.2f} s to the first answer"
            print(f"{way:>24}: {middle} (of {min(times):.2f} to {max(times):.2f})")


if __name__ == "__main__":
    main()

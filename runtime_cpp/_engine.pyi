"""The recpile C++ engine (python/engine_module.cc)."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Literal

import numpy as np

class Engine:
    """One loaded artifact, its worker threads and its queue. Loading executes code from the artifact.

    ValueError for a bad option or artifact, FileNotFoundError, or RuntimeError for one that is not for this machine.
    """

    def __init__(
        self,
        path: str,
        *,
        instances: int = 0,
        max_batch_size: int = 1024,
        preferred_batch_sizes: Sequence[int] = (),
        max_queue_delay_microseconds: int = 0,
        max_queue_size: int = 4096,
        priority_levels: int = 1,
        default_priority_level: int = 0,
        default_timeout_microseconds: int = 0,
        timeout_action: Literal["reject", "delay"] = "reject",
        pad_batches: Literal["auto", "always", "never"] = "auto",
        pin: bool = False,
        out_of_range: Literal["error", "zero"] = "error",
        table_memory: Literal["mmap", "hugepages", "auto"] = "auto",
        verify_checksums: bool = True,
    ) -> None: ...
    def infer(
        self,
        inputs: Mapping[str, np.ndarray],
        *,
        priority: int = 0,
        timeout_microseconds: int = 0,
        partial_ok: bool = False,
    ) -> dict[str, np.ndarray]:
        """Answers one request. Blocks. ValueError names what is wrong with the inputs; RuntimeError for one that cannot
        be answered in time, or at all. `priority` 1 is the highest; 0, as a timeout of 0, is what the options say.
        With `partial_ok`, outputs may have fewer rows: those of the first candidates, as many as there is time for."""

    def submit(
        self,
        inputs: Mapping[str, np.ndarray],
        *,
        priority: int = 0,
        timeout_microseconds: int = 0,
        partial_ok: bool = False,
    ) -> Future[dict[str, np.ndarray]]:
        """Queues one request."""

    def stats(self) -> dict[str, Any]:
        """Counters since load, as EngineStats has them. A histogram is {"counts", "sum"}: counts[i] of its values were
        at most 2**i and above 2**(i-1)."""

    def stop(self) -> None:
        """Refuses new requests, answers every accepted one."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def instances(self) -> int: ...
    @property
    def table_memory(self) -> str:
        """Where the tables lie, and why: "mmap: ..." or "huge pages: ..."."""

"""The recpile C++ engine (python/engine_module.cc)."""

from collections.abc import Mapping
from concurrent.futures import Future

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
        max_queue_delay_microseconds: int = 0,
        max_queue_size: int = 4096,
        verify_checksums: bool = True,
    ) -> None: ...
    def infer(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Answers one request. Blocks. ValueError names what is wrong with the inputs."""

    def submit(self, inputs: Mapping[str, np.ndarray]) -> Future[dict[str, np.ndarray]]:
        """Queues one request."""

    def stats(self) -> dict[str, int]:
        """Counters since load."""

    def stop(self) -> None:
        """Refuses new requests, answers every accepted one."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def instances(self) -> int: ...

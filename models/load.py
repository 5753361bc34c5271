"""Sends labelled rows as requests of mixed sizes to a server or to eager PyTorch, and measures as a client."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle

import numpy as np
import tritonclient.http as triton
from torch import Tensor, nn
from tritonclient.utils import np_to_triton_dtype

from recpile.pycompiler.quality import EvalData, eager, take_rows
from recpile.pycompiler.schema import InputSchema

# Candidates a request, over and over: mostly a handful, now and then a page or a shortlist.
REQUEST_SIZES = (1, 2, 3, 1, 8, 1, 24, 5, 100, 1, 16, 200)


@dataclass(frozen=True)
class Load:
    """What a client saw. seconds [requests]: the latency of each."""

    requests: int
    samples: int
    elapsed: float
    seconds: np.ndarray

    @property
    def requests_per_second(self) -> float:
        return self.requests / self.elapsed

    @property
    def samples_per_second(self) -> float:
        return self.samples / self.elapsed

    def percentile_ms(self, percent: float) -> float:
        return float(np.percentile(self.seconds, percent) * 1e3)


def requests_of_mixed_sizes(schema: InputSchema, data: EvalData) -> list[dict[str, Tensor]]:
    """All rows of `data` in order, cut into requests of REQUEST_SIZES."""
    requests, start, sizes = [], 0, cycle(REQUEST_SIZES)
    while start < len(data.labels):
        end = min(start + next(sizes), len(data.labels))
        requests.append(take_rows(schema, data.inputs, start, end))
        start = end
    return requests


def eager_one_by_one(
    model: nn.Module, schema: InputSchema, requests: list[dict[str, Tensor]]
) -> tuple[np.ndarray, Load]:
    """The first output for all rows [N], in order, and what it took."""
    scores, seconds = [], []
    eager(model, schema, requests[0])  # warm up
    for flat in requests:
        began = time.perf_counter()
        scores.append(eager(model, schema, flat)[0].numpy())
        seconds.append(time.perf_counter() - began)
    return np.concatenate(scores), Load(len(requests), _samples(scores), sum(seconds), np.array(seconds))


def send_all(url: str, model: str, requests: list[dict[str, Tensor]], clients: int) -> tuple[np.ndarray, Load]:
    """As eager_one_by_one, through a server: `clients` connections, each with one request under way at a time."""
    if clients < 1:
        raise ValueError(f"clients: got {clients}; use 1 or more")
    inputs = [_triton_inputs(flat) for flat in requests]
    answers: list[np.ndarray] = [np.empty(0)] * len(requests)
    seconds = np.zeros(len(requests))

    def client(first: int) -> None:
        connection = triton.InferenceServerClient(url)
        try:
            for i in range(first, len(requests), clients):
                began = time.perf_counter()
                answer = connection.infer(model, inputs[i])
                seconds[i] = time.perf_counter() - began
                answers[i] = answer.as_numpy(answer.get_response()["outputs"][0]["name"])
        finally:
            connection.close()

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        for done in [pool.submit(client, first) for first in range(clients)]:
            done.result()
    elapsed = time.perf_counter() - began
    return np.concatenate(answers), Load(len(requests), _samples(answers), elapsed, seconds)


def _triton_inputs(flat: Mapping[str, Tensor]) -> list[triton.InferInput]:
    inputs = []
    for name, tensor in flat.items():
        value = tensor.numpy()
        one = triton.InferInput(name, value.shape, np_to_triton_dtype(value.dtype))
        one.set_data_from_numpy(value)
        inputs.append(one)
    return inputs


def _samples(answers: list[np.ndarray]) -> int:
    return sum(len(answer) for answer in answers)

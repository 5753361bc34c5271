"""Sends labelled rows as requests of mixed sizes to a server or to eager PyTorch, and measures as a client."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
import tritonclient.http as triton
from torch import Tensor, nn
from tritonclient.utils import np_to_triton_dtype

from recpile.pycompiler.quality import EvalData, eager, take_rows
from recpile.pycompiler.schema import InputSchema
from recpile.runtime_cpp import Engine

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
    for flat in requests:
        began = time.perf_counter()
        scores.append(eager(model, schema, flat)[0].numpy())
        seconds.append(time.perf_counter() - began)
    return np.concatenate(scores), Load(len(requests), _samples(scores), sum(seconds), np.array(seconds))


def use_faster_thread_count(model: nn.Module, schema: InputSchema, requests: list[dict[str, Tensor]]) -> int:
    """Sets PyTorch to one thread or to its default, whichever answers sooner here, and returns that.

    On small batches more threads often lose, by far where cores are virtual: eager must not look worse than it is.
    """

    def seconds(threads: int) -> float:
        torch.set_num_threads(threads)
        eager_one_by_one(model, schema, requests[:4])  # warm up
        return eager_one_by_one(model, schema, requests[:16])[1].elapsed

    fastest = min({1, torch.get_num_threads()}, key=seconds)
    torch.set_num_threads(fastest)
    return fastest


def through_engine(artifact: Path, requests: list[dict[str, Tensor]], clients: int) -> tuple[np.ndarray, Load]:
    """As send_all, in this process: what the engine does without HTTP and without the client's own work."""
    engine = Engine(artifact)
    arrays = [{name: value.numpy() for name, value in flat.items()} for flat in requests]
    answers, load = _side_by_side(len(requests), clients, lambda: lambda i: engine.infer(arrays[i])["score"])
    engine.stop()
    return answers, load


def send_all(url: str, model: str, requests: list[dict[str, Tensor]], clients: int) -> tuple[np.ndarray, Load]:
    """As eager_one_by_one, through a server: `clients` connections, each with one request under way at a time."""
    if clients < 1:
        raise ValueError(f"clients: got {clients}; use 1 or more")
    inputs = [_triton_inputs(flat) for flat in requests]

    def connect() -> Callable[[int], np.ndarray]:
        connection = triton.InferenceServerClient(url)

        def answer(i: int) -> np.ndarray:
            got = connection.infer(model, inputs[i])
            return got.as_numpy(got.get_response()["outputs"][0]["name"])

        return answer

    return _side_by_side(len(requests), clients, connect)


def _side_by_side(
    requests: int, clients: int, connect: Callable[[], Callable[[int], np.ndarray]]
) -> tuple[np.ndarray, Load]:
    """Answers 0 .. requests - 1 on `clients` threads, each with what `connect` gives it and one request at a time."""
    if clients < 1:
        raise ValueError(f"clients: got {clients}; use 1 or more")
    answers: list[np.ndarray] = [np.empty(0)] * requests
    seconds = np.zeros(requests)

    def client(first: int) -> None:
        answer = connect()
        for i in range(first, requests, clients):
            began = time.perf_counter()
            answers[i] = answer(i)
            seconds[i] = time.perf_counter() - began

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        for done in [pool.submit(client, first) for first in range(clients)]:
            done.result()
    return np.concatenate(answers), Load(requests, _samples(answers), time.perf_counter() - began, seconds)


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

"""What one would write without recpile: the eager model behind a Python gRPC server, a request at a time.

`python -m benchmarks.serving.python_server ADDRESS` prints "ready" when it serves.
"""

from __future__ import annotations

import os
import sys
from concurrent import futures
from typing import Any

import grpc
import numpy as np
import torch
from torchrec import KeyedJaggedTensor
from tritonclient.grpc import service_pb2, service_pb2_grpc

from benchmarks.serving import model as benchmark_model

messages: Any = service_pb2
_DTYPES = {"FP32": np.float32, "INT64": np.int64}


class EagerService(service_pb2_grpc.GRPCInferenceServiceServicer):
    """ModelInfer with raw contents, and nothing else."""

    def __init__(self) -> None:
        self._model, _ = benchmark_model.build()

    def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:
        flat = {
            one.name: torch.from_numpy(np.frombuffer(raw, _DTYPES[one.datatype]).reshape(one.shape).copy())
            for one, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        sparse = KeyedJaggedTensor(
            keys=list(benchmark_model.KEYS), values=flat["sparse.values"], lengths=flat["sparse.lengths"].reshape(-1)
        )
        with torch.inference_mode():
            score = self._model(flat["dense"], sparse)
        answer = messages.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
        answer.outputs.add(name="score", datatype="FP32", shape=score.shape)
        answer.raw_output_contents.append(score.numpy().tobytes())
        return answer


def main() -> None:
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(1)  # as many requests side by side as cores, which suits small requests best
    server = grpc.server(futures.ThreadPoolExecutor(cores), options=[("grpc.max_receive_message_length", 64 << 20)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(EagerService(), server)
    server.add_insecure_port(sys.argv[1])
    server.start()
    print("ready", flush=True)
    server.wait_for_termination(timeout=600)


if __name__ == "__main__":
    main()

"""What the tests of the server share: requests for zoo.tiny_dlrm, as each public client takes them."""

from __future__ import annotations

import urllib.request
from types import ModuleType

import numpy as np
from tritonclient.utils import np_to_triton_dtype

from recpile.pycompiler.server_process import ServerProcess


def tensors(client: ModuleType, flat: dict, **how) -> list:
    """The inputs of a request for `client`, which is tritonclient.http or tritonclient.grpc."""
    made = []
    for name, value in flat.items():
        array = np.asarray(value)
        one = client.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
        one.set_data_from_numpy(array, **how)
        made.append(one)
    return made


def scrape(server: ServerProcess) -> dict[str, float]:
    """What Prometheus reads: values by name and labels."""
    with urllib.request.urlopen(f"http://{server.metrics_url}/metrics", timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        lines = answer.read().decode().splitlines()
    samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in samples}


def json_request() -> dict:
    """Two candidates, as JSON."""
    return {
        "id": "first",
        "inputs": [
            {"name": "dense", "shape": [2, 4], "datatype": "FP32", "data": [[0, 0.5, 1, 0], [1, 2, 3, 4]]},
            {"name": "sparse.values", "shape": [10], "datatype": "INT64", "data": [1, 2, 3, 4, 5, 6, 0, 1, 2, 3]},
            {"name": "sparse.lengths", "shape": [5, 2], "datatype": "INT64", "data": [1] * 10},
        ],
    }


def flat_request() -> dict[str, np.ndarray]:
    """The same as arrays."""
    dtypes = {"FP32": np.float32, "INT64": np.int64}
    return {
        one["name"]: np.array(one["data"], dtypes[one["datatype"]]).reshape(one["shape"])
        for one in json_request()["inputs"]
    }

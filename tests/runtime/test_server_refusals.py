"""What is no good request over HTTP is refused, with what is wrong named, and harms nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException
from wire import ask, flat_request, json_request, post, tensors

from recpile.pycompiler.server_process import ServerProcess


@pytest.fixture(scope="module")
def server(tiny) -> Iterator[ServerProcess]:
    with ServerProcess(tiny) as running:
        yield running


def spoil(index: int, **changes) -> dict:
    request = json_request()
    request["inputs"][index].update(changes)
    return request


BAD = {
    "an unknown input": (spoil(0, name="dens"), "unknown input 'dens'; the model's inputs are dense, sparse.values"),
    "a missing input": ({"inputs": json_request()["inputs"][:2]}, "input 'sparse.lengths' is missing"),
    "a wrong dtype": (spoil(0, datatype="FP64"), "input 'dense' is fp64; expected fp32"),
    "a wrong shape": (spoil(0, shape=[4, 2], data=[0] * 8), r"input 'dense' has shape [4, 2]; expected [-1, 4]"),
    "lengths that do not sum to the values": (
        spoil(2, data=[1] * 9 + [0]),
        "sums to 9, but 'sparse.values' has 10 ids",
    ),
    "negative lengths": (spoil(2, data=[-1] + [1] * 9), "'sparse.lengths' has -1 at index 0; lengths are 0 or more"),
    "an id out of range": (
        spoil(1, data=[50] + [1] * 9),
        "has id 50 at index 0 (key 'user'); table 'user' has ids 0 to 49",
    ),
    "an empty request": (
        {
            "inputs": [
                {"name": "dense", "shape": [0, 4], "datatype": "FP32", "data": []},
                {"name": "sparse.values", "shape": [0], "datatype": "INT64", "data": []},
                {"name": "sparse.lengths", "shape": [5, 0], "datatype": "INT64", "data": []},
            ]
        },
        "the request is empty",
    ),
    "no inputs at all": ({"inputs": []}, 'the request needs "inputs" (a non-empty array)'),
    "an unknown output": ({**json_request(), "outputs": [{"name": "scores"}]}, "score"),
    "a priority that is no number": (
        {**json_request(), "parameters": {"priority": "high"}},
        'parameter "priority" must be an integer of at least 0',
    ),
    "a fraction for an integer": (spoil(1, data=[1.5] + [1] * 9), "sparse.values"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_a_400_that_names_it_and_the_server_serves_on(server, what):
    body, message = BAD[what]
    status, answer = post(server, body)
    assert status == 400
    assert message in answer["error"]
    assert post(server, json_request())[0] == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'{"inputs": 3}', b"[" * 100_000])
def test_a_body_that_is_no_request_is_a_400(server, body):
    status, answer = post(server, body)
    assert status == 400
    assert answer["error"]


def test_the_public_client_sees_the_message(server):
    flat = flat_request()
    flat["sparse.values"] += 1000
    with pytest.raises(InferenceServerException, match="table 'user' has ids 0 to 49"):
        triton.InferenceServerClient(server.url).infer("tiny_dlrm", tensors(triton, flat))


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/other/infer", 404),
        ("/v2/models/tiny_dlrm/versions/7/infer", 404),
        ("/v3", 404),
        ("/v2/health/live", 405),
    ],
)
def test_what_is_not_there_says_so(server, path, status):
    got, answer = post(server, b"{}", path)
    assert got == status
    assert answer["error"]


@pytest.mark.parametrize("protocol", [triton, triton_grpc], ids=["http", "grpc"])
def test_sequences_are_unsupported_rather_than_ignored(server, protocol):
    with pytest.raises(InferenceServerException, match=r"(501|UNIMPLEMENTED).*sequences are not supported"):
        ask(server, protocol, flat_request(), sequence_id=7, sequence_start=True)
    assert ask(server, protocol, flat_request(), sequence_id=0).shape == (2,)


def test_a_body_over_the_limit_is_a_413(tiny):
    with ServerProcess(tiny, "--max-request-bytes", "2000") as server:
        assert post(server, b"x" * 5000)[0] == 413
        assert post(server, json_request())[0] == 200

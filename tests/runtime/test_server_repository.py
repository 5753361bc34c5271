"""A folder of models: several names and versions in one process, loaded and unloaded while it serves."""

from __future__ import annotations

import json
import shutil
import threading
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException
from wire import PATIENCE, flat_request, tensors, wait_for

from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.server_process import ServerError, ServerProcess

# At little less than the usual priority: what loads at the lowest starves beside what else runs on the cores.
EXPLICIT = ("--model-control", "explicit", "--load-nice", "1")


def place(artifact: Path, target: Path) -> Path:
    """Puts a copy at `target` at once, as a deployment should: a half-written file is never seen."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(artifact, target.with_suffix(".copying"))
    return target.with_suffix(".copying").rename(target)


@pytest.fixture
def folder(tiny, tmp_path) -> Path:
    """Two models, one in each layout, the first with three versions."""
    for version in (1, 2, 10):
        place(tiny, tmp_path / "ranker" / f"{version}.pt2")
    place(tiny, tmp_path / "retrieval" / "7" / "model.pt2")
    (tmp_path / "ranker" / "notes.txt").write_text("not a version")
    (tmp_path / ".git").mkdir()
    return tmp_path


def ask(server: ServerProcess, model: str, version: str = "") -> dict:
    with triton_http.InferenceServerClient(server.url) as client:
        return client.infer(model, tensors(triton_http, flat_request()), model_version=version).get_response()


def index(server: ServerProcess) -> dict[str, str]:
    with triton_grpc.InferenceServerClient(server.grpc_url) as client:
        return {f"{one.name}:{one.version}": one.state for one in client.get_model_repository_index().models}


def test_the_newest_version_of_every_model_is_served(folder):
    with ServerProcess(None, "--model-repository", str(folder)) as server:
        assert server.models == ["ranker:10", "retrieval:7"]
        answer = ask(server, "ranker")
        assert (answer["model_name"], answer["model_version"]) == ("ranker", "10")
        assert ask(server, "retrieval", "7")["model_version"] == "7"
        with pytest.raises(InferenceServerException, match="no version '2'; this server has version '10'"):
            ask(server, "ranker", "2")
        assert index(server) == {
            "ranker:1": "UNAVAILABLE",
            "ranker:2": "UNAVAILABLE",
            "ranker:10": "READY",
            "retrieval:7": "READY",
        }


def test_or_all_versions_side_by_side(folder):
    with ServerProcess(None, "--model-repository", str(folder), "--model-versions", "all") as server:
        assert server.models == ["ranker:1", "ranker:2", "ranker:10", "retrieval:7"]
        assert ask(server, "ranker")["model_version"] == "10"
        assert ask(server, "ranker", "2")["model_version"] == "2"
        client = triton_http.InferenceServerClient(server.url)
        assert client.get_model_metadata("ranker")["versions"] == ["1", "2", "10"]
        stats = client.get_inference_statistics()["model_stats"]
        counts = {(one["name"], one["version"]): one["inference_count"] for one in stats}
        assert counts == {("ranker", "1"): 0, ("ranker", "2"): 2, ("ranker", "10"): 2, ("retrieval", "7"): 0}


def test_clients_may_not_load_unless_the_server_is_told_so(folder, tiny):
    for make in (lambda: ServerProcess(None, "--model-repository", str(folder)), lambda: ServerProcess(tiny)):
        with make() as server:
            client = triton_http.InferenceServerClient(server.url)
            with pytest.raises(InferenceServerException, match="--model-control explicit"):
                client.load_model("ranker")
            with pytest.raises(InferenceServerException, match="--model-control explicit"):
                triton_grpc.InferenceServerClient(server.grpc_url).unload_model("ranker")


def test_a_model_that_comes_while_the_server_runs_is_served_beside_the_others(folder, tiny):
    options = ("--model-repository", str(folder), *EXPLICIT, "--load-model", "retrieval")
    with ServerProcess(None, *options) as server:
        place(tiny, folder / "newcomer" / "1.pt2")
        assert index(server)["newcomer:1"] == "UNAVAILABLE"
        triton_http.InferenceServerClient(server.url, network_timeout=PATIENCE).load_model("newcomer")
        assert index(server)["newcomer:1"] == "READY"
        assert ask(server, "newcomer")["model_name"] == "newcomer"
        assert ask(server, "retrieval")["model_version"] == "7"


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_clients_load_and_unload(folder, protocol):
    with ServerProcess(None, "--model-repository", str(folder), *EXPLICIT, "--load-model", "retrieval") as server:
        assert server.models == ["retrieval:7"]
        if protocol == "http":
            client = triton_http.InferenceServerClient(server.url)
        else:
            client = triton_grpc.InferenceServerClient(server.grpc_url)
        assert not client.is_model_ready("ranker")
        client.load_model("ranker")
        assert client.is_model_ready("ranker")
        assert ask(server, "ranker")["model_version"] == "10"
        client.unload_model("ranker")
        assert not client.is_model_ready("ranker")
        assert client.is_model_ready("retrieval")
        with pytest.raises(InferenceServerException, match="model 'ranker' is not served here"):
            ask(server, "ranker")
        for name in ("nothing", "../ranker", "ranker/../retrieval"):
            with pytest.raises(InferenceServerException):
                client.load_model(name)
        with pytest.raises(InferenceServerException, match="is not served here"):
            client.unload_model("nothing")
        with pytest.raises(InferenceServerException, match="from the server's repository only"):
            client.load_model("ranker", config="{}")
        assert index(server)["ranker:10"] == "UNAVAILABLE"


def test_the_index_over_http(folder):
    with ServerProcess(None, "--model-repository", str(folder)) as server:

        def post(body: bytes) -> list[dict]:
            request = urllib.request.Request(f"http://{server.url}/v2/repository/index", data=body, method="POST")
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.loads(answer.read())

        assert len(post(b"")) == 4
        assert post(b'{"ready": true}') == [
            {"name": "ranker", "version": "10", "state": "READY", "reason": ""},
            {"name": "retrieval", "version": "7", "state": "READY", "reason": ""},
        ]
        with pytest.raises(urllib.error.HTTPError, match="400"):
            post(b"[]")


def test_no_request_fails_while_models_are_reloaded(folder, tiny):
    expected = DebugRuntime(tiny).run(flat_request())["score"].numpy()
    options = ("--model-repository", str(folder), *EXPLICIT, "--load-model", "*")
    with ServerProcess(None, *options) as server:
        answered: Counter[str] = Counter()
        failures: list[str] = []
        over = threading.Event()

        def client(protocol) -> None:
            url = server.url if protocol is triton_http else server.grpc_url
            with protocol.InferenceServerClient(url) as connection:
                while not over.is_set():
                    try:
                        answer = connection.infer("ranker", tensors(protocol, flat_request()))
                        np.testing.assert_allclose(answer.as_numpy("score"), expected, atol=2e-6, rtol=0)
                        response = answer.get_response()
                        version = response["model_version"] if isinstance(response, dict) else response.model_version
                        answered[version] += 1
                    except Exception as error:
                        failures.append(repr(error))
                        return

        def wait_for_answers(version: str) -> None:
            enough = answered[version] + 20
            wait_for(f"answers of version {version}", lambda: answered[version] >= enough or bool(failures))

        threads = [threading.Thread(target=client, args=(one,)) for one in (triton_http, triton_grpc) * 2]
        for thread in threads:
            thread.start()
        control = triton_http.InferenceServerClient(server.url, network_timeout=PATIENCE)
        wait_for_answers("10")
        for _ in range(2):  # the same version, from a new file
            place(tiny, folder / "ranker" / "10.pt2")
            control.load_model("ranker")
            wait_for_answers("10")
        place(tiny, folder / "ranker" / "11.pt2")
        control.load_model("ranker")
        wait_for_answers("11")
        (folder / "ranker" / "12.pt2").write_bytes(b"nothing of the kind" * 10)
        with pytest.raises(InferenceServerException, match=r"version 12 could not be loaded: .*not a zip archive"):
            control.load_model("ranker")
        wait_for_answers("11")
        (folder / "ranker" / "12.pt2").unlink()
        (folder / "ranker" / "11.pt2").unlink()
        control.load_model("ranker")  # back to what is there
        wait_for_answers("10")
        over.set()
        for thread in threads:
            thread.join()
        assert failures == []
        assert set(answered) == {"10", "11"}
        assert index(server) == {
            "ranker:1": "UNAVAILABLE",
            "ranker:2": "UNAVAILABLE",
            "ranker:10": "READY",
            "retrieval:7": "READY",
        }
        assert server.stop() == 0


def test_a_load_that_fails_is_told_in_the_index_and_leaves_the_others_alone(folder):
    (folder / "broken").mkdir()
    (folder / "broken" / "1.pt2").write_bytes(b"nothing of the kind" * 10)
    with ServerProcess(None, "--model-repository", str(folder), *EXPLICIT, "--load-model", "retrieval") as server:
        client = triton_http.InferenceServerClient(server.url)
        with pytest.raises(InferenceServerException, match="not a zip archive"):
            client.load_model("broken")
        (entry,) = (one for one in client.get_model_repository_index() if one["name"] == "broken")
        assert entry["state"] == "UNAVAILABLE"
        assert "not a zip archive" in entry["reason"]
        assert ask(server, "retrieval")["model_version"] == "7"


def test_a_file_that_did_not_change_is_not_loaded_again(folder):
    options = ("--model-repository", str(folder), *EXPLICIT, "--load-model", "ranker")
    with ServerProcess(None, *options) as server:
        ask(server, "ranker")
        client = triton_http.InferenceServerClient(server.url)
        client.load_model("ranker")
        (stats,) = client.get_inference_statistics("ranker")["model_stats"]
        assert stats["inference_count"] == 2  # a fresh engine would begin at 0


def test_a_model_that_cannot_be_loaded_at_the_start_is_exit_code_2(folder):
    (folder / "ranker" / "11.pt2").write_bytes(b"nothing of the kind" * 10)
    with pytest.raises(ServerError, match=r"(?s)exited with 2.*model 'ranker' version 11 could not be loaded"):
        ServerProcess(None, "--model-repository", str(folder)).__enter__()
    place(folder / "ranker" / "10.pt2", folder / "retrieval" / "7.pt2")
    with pytest.raises(ServerError, match=r"(?s)exited with 2.*version 7 of model 'retrieval' is there twice"):
        ServerProcess(None, "--model-repository", str(folder), *EXPLICIT, "--load-model", "retrieval").__enter__()
    with pytest.raises(ServerError, match=r"(?s)exited with 2.*has no folder 'rankre'"):
        ServerProcess(None, "--model-repository", str(folder), *EXPLICIT, "--load-model", "rankre").__enter__()
    with pytest.raises(ServerError, match=r"(?s)exited with 2.*cannot read the folder"):
        ServerProcess(None, "--model-repository", str(folder / "gone")).__enter__()

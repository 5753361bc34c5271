"""The debug runtime operator by operator: dump, compare, check, time, stop; without the C++ extension too."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.debugging.checks import OperatorFault, ValueCheck
from recpile.pycompiler.debugging.session import DebugOptions, debug
from recpile.pycompiler.random_inputs import random_inputs


@pytest.fixture(scope="module")
def runtime(tiny) -> DebugRuntime:
    return DebugRuntime(tiny, "exported")


@pytest.fixture
def inputs(runtime):
    return random_inputs(runtime.manifest, 4)


def test_every_operator_is_seen_with_its_stage_its_line_and_what_flows(runtime, inputs):
    seen = []
    outputs = runtime.run(inputs, operators=seen.append)
    assert torch.equal(outputs["score"], runtime.run(inputs)["score"])
    first, last = seen[0], seen[-1]
    assert (first.path, first.operator) == ("embedding/pooled", "table-batched lookup (sum)")
    assert set(first.inputs) == {"sparse.values", "sparse.lengths"}
    assert first.outputs[0].shape == (4, 80)
    assert (last.path, last.operator) == ("dense/squeeze", "aten.squeeze.dim")
    assert torch.equal(last.outputs[0], outputs["score"])
    for call in (first, last):
        assert re.search(r"zoo.py:\d+: return torch.sigmoid\(self.dlrm\(dense, sparse\)\).squeeze\(1\)$", call.source)
    linear = next(call for call in seen if call.name == "linear")
    assert [name.rpartition("_linear.")[2] for name in linear.inputs] == ["flat_dense", "weight", "bias"]


def test_compiled_stages_show_no_operators(tiny, inputs):
    with pytest.raises(ValueError, match="in exported stages only: use code='exported'"):
        DebugRuntime(tiny).run(inputs, operators=print)


@pytest.mark.parametrize("file_format", ["npz", "pt"])
def test_what_operators_gave_is_dumped_and_compared_with_another_run(runtime, inputs, tmp_path, file_format):
    folder = tmp_path / "before"
    made = debug(runtime, inputs, DebugOptions(dump=folder, dump_format=file_format))
    index = json.loads((folder / "index.json").read_text())
    assert len(index) == len(made.times)
    assert index[-1]["path"] == "dense/squeeze"
    if file_format == "npz":
        np.testing.assert_array_equal(np.load(folder / index[-1]["file"])["0"], made.outputs["score"].numpy())
    else:
        assert torch.equal(torch.load(folder / index[-1]["file"])[0], made.outputs["score"])

    same = debug(runtime, inputs, DebugOptions(compare=folder))
    assert {one.largest for one in same.differences} == {0.0}
    changed = {**inputs, "dense": inputs["dense"] + 0.5}
    other = debug(runtime, changed, DebugOptions(compare=folder))
    assert next(one.call.path for one in other.differences if one.largest > 1e-5) == "dense/linear"


def test_a_dump_is_of_one_run_and_whole(runtime, inputs, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(ValueError, match="there exists; give a folder that does not"):
        debug(runtime, inputs, DebugOptions(dump=tmp_path / "there"))
    with pytest.raises(ValueError, match=r"has no index\.json: give a folder that --dump wrote"):
        debug(runtime, inputs, DebugOptions(compare=tmp_path / "there"))
    with pytest.raises(OperatorFault):
        debug(runtime, inputs, DebugOptions(dump=tmp_path / "half", check=ValueCheck(high=0.0)))
    assert [one.name for one in tmp_path.iterdir()] == ["there"]


def test_the_first_operator_that_gives_nan_is_named_with_its_line_and_what_it_read(runtime, inputs):
    inputs["dense"][2, 1] = float("nan")
    with pytest.raises(OperatorFault) as fault:
        debug(runtime, inputs, DebugOptions(check=ValueCheck()))
    said = str(fault.value)
    assert re.match(r"aten.linear.default 'linear' of stage dense \(.*zoo.py:\d+: .*\) gives 32 NaN and 0 Inf", said)
    assert "reads flat_dense: fp32[4, 4] " in said
    assert "1 NaN or Inf" in said


def test_a_range_is_checked_where_it_is_asked_for(runtime, inputs):
    within = DebugOptions(only=("aten.sigmoid.default",), check=ValueCheck(low=0.0, high=1.0))
    debug(runtime, inputs, within)
    with pytest.raises(OperatorFault, match=r"'sigmoid' of stage dense .* gives 4 of 4 values outside 1.5 to inf"):
        debug(runtime, inputs, DebugOptions(only=("dense/sig*",), check=ValueCheck(low=1.5)))


def test_operators_are_timed_slowest_first(runtime, inputs):
    report = debug(runtime, inputs, DebugOptions(repeat=3))
    times = [one.seconds for one in report.times]
    assert times == sorted(times, reverse=True)
    assert min(times) > 0
    assert "embedding/pooled" in {one.call.path for one in report.times}


def test_a_breakpoint_stops_behind_the_operators_that_match(runtime, inputs):
    stopped = []
    debug(runtime, inputs, DebugOptions(break_at=("dense/relu*", "aten.bmm.default"), at_break=stopped.append))
    assert [call.name for call in stopped] == ["relu", "relu_1", "bmm", "relu_2", "relu_3"]
    assert stopped[2].outputs[0].shape == (4, 6, 6)


@pytest.mark.parametrize("options", [DebugOptions(break_at=("dense/rleu",)), DebugOptions(only=("dense/rleu",))])
def test_a_glob_that_matches_nothing_is_refused_with_what_there_is(runtime, inputs, options):
    with pytest.raises(
        ValueError, match=r"'dense/rleu' matches no operator; there are embedding/pooled, dense/linear,"
    ):
        debug(runtime, inputs, options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DebugOptions(dump_format="csv"), "dump format: got 'csv'; use one of npz, pt"),
        (lambda: DebugOptions(repeat=0), "repeat: got 0; use 1 or more"),
        (lambda: ValueCheck(low=2.0, high=1.0), "range: got 2.0 to 1.0; the first number is the smaller one"),
    ],
)
def test_options_say_what_is_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_command_works_where_the_extension_is_not_built(tiny, tmp_path: Path):
    script = (
        "import sys; sys.modules['recpile.runtime_cpp._engine'] = None\n"
        "from recpile.pycompiler.cli.main import main\n"
        f"sys.exit(main(['debug', {str(tiny)!r}, '--check', '--time', '2', '--dump', 'dump']))"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert "aten.linear.default" in ran.stdout
    assert "output score fp32[16]" in ran.stdout
    assert (tmp_path / "dump" / "index.json").is_file()


def test_threads_that_share_a_runtime_get_their_own_answers(runtime):
    requests = [random_inputs(runtime.manifest, 1 + seed % 5, seed) for seed in range(24)]
    wanted = [runtime.run(one)["score"] for one in requests]
    with ThreadPoolExecutor(4) as threads:
        got = list(threads.map(lambda one: debug(runtime, one).outputs["score"], requests))
    assert all(torch.equal(a, b) for a, b in zip(wanted, got, strict=True))

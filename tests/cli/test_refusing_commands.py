"""What the `recpile` command says of what the user can mend: one clear line, exit code 1 or 2, and nothing written."""

from __future__ import annotations

import pytest
import torch
from cli.user_folder import USER_MODEL, recpile


def test_the_doctor_exits_1_names_the_line_and_nothing_is_written(folder):
    checked = recpile(folder, "doctor", "my_model:branching", "--max-batch", "4")
    assert checked.returncode == 1, checked.stderr
    assert "│ no ids, batch 1" in checked.stdout
    assert "DIFFERS" in checked.stdout
    assert "WRONG: the model branches on a size" in checked.stdout
    line = 1 + USER_MODEL.splitlines().index("        if sparse.values().numel() > 0:")
    assert f"my_model.py:{line}: if sparse.values().numel() > 0:" in checked.stdout

    arguments = ["--checkpoint", "trained.pt", "--output", "never.pt2", "--doctor"]
    refused = recpile(folder, "export", "my_model:branching", *arguments)
    assert (refused.returncode, (folder / "never.pt2").exists()) == (1, False)
    assert "never.pt2 was not written" in refused.stdout


def test_a_checkpoint_with_a_misnamed_weight_is_refused_and_nothing_is_written(folder):
    state = torch.load(folder / "trained.pt")
    state["hiden.weight"] = state.pop("hidden.weight")
    torch.save(state, folder / "misnamed.pt")
    ran = recpile(folder, "export", "my_model", "--checkpoint", "misnamed.pt", "--output", "never.pt2")
    assert ran.returncode == 2
    assert "1 missing: 'hidden.weight' (did you mean the checkpoint's 'hiden.weight'?)" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (folder / "never.pt2").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no_such_model"], "no module 'no_such_model'"),
        (["my_model:nothing"], "has no function 'nothing'"),
        (["my_model:broken"], "returned Model; return (nn.Module, recpile InputSchema)"),
        (["my_model", "--embedding-dtype", "int3"], "got 'int3'; use one of fp32, fp16, bf16, int8, int4, int2"),
        (["my_model", "--embedding-dtype", "usr=int8"], "rule 'usr' matches no table; the tables are user, item"),
        (["my_model", "--precision", "auto"], "--precision auto needs --calibration FILE"),
        (["my_model", "--precision", "auto", "--calibration", "rows.npz"], "has 20 rows; give at least 900"),
        (["my_model", "--name", "two words"], "got 'two words'; use one word"),
        (["my_model", "--pass", "my_model:Pas"], "module 'my_model' has no 'Pas'; it has no Pass class"),
    ],
)
def test_what_the_user_can_mend_is_one_clear_line(folder, arguments, message):
    ran = recpile(folder, "export", *arguments, "--checkpoint", "trained.pt", "--output", "never.pt2")
    assert ran.returncode == 2
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr

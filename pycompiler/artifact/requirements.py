"""What a machine must have to run an artifact, and the check that it does."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from recpile.pycompiler.artifact.layout import ArtifactError

# What a compiler told to build for "this machine" may put into a stage, as the kernel names it. Other flags (of the
# page tables, of mitigations) never reach user code, and requiring them would refuse machines for nothing.
# fmt: off
_CODE_FEATURES = frozenset({
    "sse4_1", "sse4_2", "popcnt", "avx", "avx2", "fma", "f16c", "bmi1", "bmi2", "movbe", "adx", "gfni", "vaes",
    "vpclmulqdq", "avx_vnni", "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512ifma", "avx512vbmi",
    "avx512_vbmi2", "avx512_vnni", "avx512_bitalg", "avx512_vpopcntdq", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_int8", "amx_bf16", "amx_fp16",
    "asimd", "asimddp", "fphp", "asimdhp", "i8mm", "bf16", "sve", "sve2", "svei8mm", "svebf16",
})
# fmt: on


def cpu_features() -> frozenset[str]:
    """This machine's CPU features that compiled code may use. Linux only, like the runtime."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split()) & _CODE_FEATURES
    return frozenset()


def of_this_machine(compiled: bool) -> dict:
    """The manifest's `requires`. An artifact without compiled stages runs on any CPU of the architecture."""
    return {
        "torch": _minor(torch.__version__),
        "fbgemm": _minor(_fbgemm_version()),
        "arch": platform.machine(),
        "cpu_features": sorted(cpu_features()) if compiled else [],
    }


def check(requires: dict) -> None:
    """ArtifactError names the first requirement that this machine does not meet."""
    here = of_this_machine(compiled=False)
    for library in ("torch", "fbgemm"):
        if requires[library] != here[library]:
            raise ArtifactError(
                f"the artifact needs {library} {requires[library]}; this machine has {here[library]}: "
                "export it again with this version, or install that one"
            )
    if requires["arch"] != here["arch"]:
        raise ArtifactError(
            f"the artifact was compiled for {requires['arch']}; this machine is {here['arch']}: export it there"
        )
    lacking = sorted(set(requires["cpu_features"]) - cpu_features())
    if lacking:
        raise ArtifactError(
            f"the artifact's code uses CPU features that this machine lacks: {', '.join(lacking)}; export it here"
        )


def _minor(text: str) -> str:
    """ "2.13.0+cpu" -> "2.13": what libraries of one minor version share is their binary interface."""
    return ".".join(text.split("+")[0].split(".")[:2])


def _fbgemm_version() -> str:
    try:
        return version("fbgemm-gpu-cpu")
    except PackageNotFoundError:
        return version("fbgemm-gpu")

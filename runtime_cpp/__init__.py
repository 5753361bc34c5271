"""The C++ engine in Python: `from recpile.runtime_cpp import Engine`."""

# First: it brings libtorch into the process, which the extension links to.
import torch  # noqa: F401

from recpile.runtime_cpp._engine import Engine

__all__ = ["Engine"]

"""What a child process of the lane gets to know."""

from __future__ import annotations

import os
import sys

_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ", "TMPDIR")


def child_environment() -> dict[str, str]:
    """What a child may know: where Python's modules are, and to use one thread. No secret, no database address."""
    modules = [os.path.abspath(entry) for entry in sys.path]
    return {
        **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(modules)),
        "PYTHONUTF8": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "RAYON_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "MALLOC_ARENA_MAX": "1",
        "HF_HUB_OFFLINE": "1",
    }

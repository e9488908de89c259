"""How fast labeling is, as ratios against named peers on the same work in one run. See each part for what it does.

`python benchmarks/labelers.py [sampler | reuse | server]`; `vllm` runs in the environment of `make test-vllm`.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

PARTS = {
    "sampler": "labelers_sampler.py",  # the transformers engine against Hugging Face generate
    "reuse": "labelers_reuse.py",  # shared pools, and labeling again
    "server": "labelers_server.py",  # the openai engine against a bare client, and memory
    "vllm": "labelers_vllm.py",  # the vllm engine against bare LLM.generate
}


def main() -> None:
    """Run one part, with what follows its name as its own arguments."""
    if len(sys.argv) < 2 or sys.argv[1] not in PARTS:
        sys.exit(f"{__doc__}")
    part = Path(__file__).with_name(PARTS[sys.argv[1]])
    sys.argv = [str(part), *sys.argv[2:]]
    runpy.run_path(str(part), run_name="__main__")


if __name__ == "__main__":
    main()

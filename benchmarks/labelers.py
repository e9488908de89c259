"""How fast labeling is. Each part says what it measures, and takes its own options.

python -m benchmarks.labelers sampler    # the transformers engine against Hugging Face generate
python -m benchmarks.labelers reuse      # shared pools, and labeling again
python -m benchmarks.labelers server     # the openai engine against a bare client, and memory
python -m benchmarks.labelers vllm       # the vllm engine against bare LLM.generate, in test-vllm's environment
"""

import runpy
import sys

PARTS = ("sampler", "reuse", "server", "vllm")


def main() -> None:
    """Run one part, with what follows its name as its own arguments."""
    if len(sys.argv) < 2 or sys.argv[1] not in PARTS:
        sys.exit(__doc__)
    part = f"benchmarks.labelers_{sys.argv.pop(1)}"
    runpy.run_module(part, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

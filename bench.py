"""Speed and memory, beside what people use today and beside what the machine can do at most.

    pip install -r requirements-bench.txt
    python bench.py cpu                        # the embedded base: ours, transformers', TRL's
    python bench.py cpu --model FOLDER         # the same of a real model, in bf16 where that helps
    python bench.py cuda --shape qwen2.5-1.5b  # random weights of that shape: nothing is downloaded
    python bench.py scaling                    # how the cost grows: rollouts, context, group size
    python bench.py memory                     # what a run keeps in memory, computed
    python bench.py recipes                    # published settings beside ours
    python bench.py counted                    # what a GPU has to do, counted without one
    python bench.py check                      # PASS or FAIL of what a GPU runs differently

The first three measure. Each prints its tables and writes all figures as JSON, anew after every
row. Let the machine have nothing else to do.

Turns. After a round that is thrown away (on a GPU it also captures the graphs) the sides take
turns, so that a machine that slows down slows down all of them. Figures are medians, lowest and
highest in brackets; ratios of the headline are taken within a round. The clock stops when the
device has finished.

Useful tokens are response ids up to and including the stop token, no padding. Where a row says
"lengths imposed", no id stops a row: responses have log-normal lengths, at most 8 times their mean,
the same on all sides whatever random weights draw. Ours takes them as `limits`; transformers'
generate gets them as a StoppingCriteria of each row and goes on with the batch until the longest is
done; its continuous batching takes max_new_tokens for each request; TRL's step gets a
LogitsProcessor that forbids the stop token before a row's length and forces it there.

The floor is the time that the machine needs at least: bytes over the measured bandwidth of a large
copy, or operations over the measured rate of a large matrix product in the compute type, whichever
is longer. For decoding, the bytes are all weights once a step and the keys and values of the live
rows, and almost always bytes are what binds on a GPU; for prefill and update operations bind: 2 a
weight and token forward, 6 with the backward pass, plus attention's, with each prompt computed once
for its group. The embedded base's floors are in fp32. A whole step has no floor of its own: its
parts have, and `bench.py cpu --model` adds them up.
"""

import sys

import speed
from config import UserError, run_program

PROGRAMS = {
    "cpu": speed.cpu.main,
    "cuda": speed.rows.main,
    "scaling": speed.scaling.main,
    "memory": speed.memory.main,
    "recipes": speed.recipes.main,
    "counted": speed.counted.main,
    "check": speed.check.main,
}


def main() -> None:
    name = "".join(sys.argv[1:2])
    if name not in PROGRAMS:
        wrong = f"{name}: " if name else ""
        raise UserError(
            f"{wrong}say which benchmark: python bench.py {'|'.join(PROGRAMS)} (each has a --help)"
        )
    PROGRAMS[name](sys.argv[2:])


if __name__ == "__main__":
    run_program(main)

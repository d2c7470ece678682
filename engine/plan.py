"""What this machine's memory leaves to a run or an evaluation: planned before, said when it ends.

memory.py computes what a run takes, whatever the machine; here the GPU is asked what it has.
"""

from contextlib import contextmanager
from dataclasses import replace

import torch

from config import UserError
from engine import memory
from engine.attention import has_packed_kernel
from engine.decoder import MOST_SLOTS


def plan_memory(
    settings,
    shape,
    longest: int,
    budget: int,
    device: torch.device,
    dtype: torch.dtype,
    teacher=None,
) -> memory.Setup:
    """What a training will take, said aloud where that is much; `slots` is filled in.

    settings: a train.TrainConfig; shape: the model's configuration; longest: tokens of a prompt;
    budget: tokens of a micro-batch; teacher: its shape, if there is one. A UserError if it cannot
    fit. --memory-gb limits a GPU; on a CPU it is only what must suffice.
    """
    setup = memory.setup_of(
        settings,
        longest,
        budget,
        dtype.itemsize,
        gpu=device.type == "cuda",
        kernel=has_packed_kernel(device, dtype, shape.head_size),
        teacher=teacher,
    )
    gb = settings.memory_gb
    if device.type == "cuda":
        gb = usable_gb(settings.memory_gb)
    if gb:
        most = min(memory.most_slots(gb), settings.prompts_per_step * settings.group_size)
        setup = memory.plan(shape, setup, gb, most)
    else:
        setup = replace(setup, slots=setup.slots or MOST_SLOTS, resident=True)
    if device.type == "cuda" or max(memory.phases(shape, setup)) > 1:
        print(memory.described(shape, setup, gb))
    return setup


def plan_slots(
    shape, tokens: int, wanted: int, rollouts: int, device: torch.device, dtype: torch.dtype
) -> int:
    """How many of `rollouts` decode at a time where a model that is loaded only samples.

    shape: the model's configuration; tokens: of the longest prompt and its response; wanted:
    --slots, 0 takes what fits, `memory.most_slots` at most. A UserError if the GPU cannot hold
    them; said aloud where fewer fit than there could be.
    """
    if device.type != "cuda":
        return min(wanted or MOST_SLOTS, rollouts)
    gb = usable_gb(0.0) + torch.cuda.memory_reserved(device) / 1e9  # the weights are there
    most = min(wanted or memory.most_slots(gb), rollouts)
    # Of a training without masters: nothing but weights is there while it samples.
    setup = memory.Setup(most, tokens, token_budget=1, offload=True, width=dtype.itemsize)
    fitting = memory.filled(shape, setup, gb, most)
    usable = f"{memory.USABLE * gb:.1f} GB of GPU memory (computed)"
    if fitting.slots == 0:
        needed, _ = memory.phases(shape, replace(setup, slots=1))
        raise UserError(
            f"one response of {tokens} tokens with its prompt needs {needed:.1f} of {usable}: "
            "lower --max-new-tokens or take a smaller --model"
        )
    if wanted and fitting.slots < most:
        raise UserError(
            f"--slots {wanted}: {fitting.slots} of {tokens} tokens fit into {usable}; 0 takes what "
            "fits"
        )
    if fitting.slots < most:
        print(f"{fitting.slots} slots of {tokens} tokens fit into {usable}")
    return fitting.slots


def usable_gb(limit: float) -> float:
    """GB of the GPU that this process may use, what it has already included.

    limit: GB, 0 is none; with a limit torch's allocator is held to it.
    """
    free, total = torch.cuda.mem_get_info()
    free += memory.CONTEXT  # this process has its context already
    gb = free / 1e9
    if limit:
        gb = min(limit, gb)
        share = max(0.0, gb * 1e9 - memory.CONTEXT) / total
        torch.cuda.set_per_process_memory_fraction(share)
    return gb


def ran_out(error: RuntimeError) -> bool:
    """Whether an error says that GPU memory ran out.

    It is the allocator's or, from outside of it (a kernel that is loaded, a graph), the driver's.
    """
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, torch.AcceleratorError) and "out of memory" in str(error)


@contextmanager
def out_of_memory(advice: str, resumable: bool = True):
    """Running out of GPU memory becomes a UserError that says what to change.

    resumable: a run that can be gone on with.
    """
    try:
        yield
    except RuntimeError as error:
        if not ran_out(error):
            raise
        if resumable:
            advice += "; --resume takes them"
        raise UserError(f"out of GPU memory {advice}") from None

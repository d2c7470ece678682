"""What a timing is: the clock stops when the device has finished, and sides take turns."""

import time
from dataclasses import dataclass
from statistics import median

import torch


def synchronize(device: torch.device) -> None:
    """Wait until the device's queue is empty."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(call, device: torch.device) -> float:
    """Seconds of one call, the device's queue emptied before and after.

    A call that times itself returns its seconds.
    """
    synchronize(device)
    began = time.perf_counter()
    own = call()
    synchronize(device)
    if isinstance(own, float):
        return own
    return time.perf_counter() - began


class Unable(Exception):
    """A side cannot run here; the text is its own reason."""


@dataclass(frozen=True)
class Side:
    """What is measured: a call, and another one to warm up with where the call itself is long."""

    call: object
    warm: object = None


def take_turns(
    sides: dict[str, Side], repeats: int, patience: float, device
) -> dict[str, list[float] | str]:
    """Seconds of each side, one call a round in turns, or why there are none.

    A first round of warming up is thrown away. A side that has used up `patience` seconds is
    measured no more, so that a slow one is measured once.
    """
    found = {name: [] for name in sides}
    still_open = dict(sides)
    for number in range(repeats + 1):
        warming_up = number == 0
        for name, side in list(still_open.items()):
            call = side.call
            if warming_up and side.warm:
                call = side.warm
            try:
                seconds = seconds_of(call, device)
            except torch.OutOfMemoryError:
                found[name] = "out of memory"
            except Unable as error:
                found[name] = f"does not run here: {error}"
            if isinstance(found[name], str):
                del still_open[name]
                torch.cuda.empty_cache()  # nothing without CUDA
            elif not warming_up:
                found[name].append(seconds)
                if sum(found[name]) > patience:
                    del still_open[name]
    return found


def spread(values: list) -> list:
    """[median, lowest, highest]"""
    return [median(values), min(values), max(values)]

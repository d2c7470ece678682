"""What a timing is, what lengths responses have, and the floors that times are compared with.

A floor is the time that the machine needs at least: the larger of bytes over the copy bandwidth and operations over the
matrix rate, both measured here, on this machine and in the same run. Bytes are those that a perfect program still moves:
every weight once a step, and the keys and values of the live rows, no padding. Operations are 2 a weight and token
forward, three times as many with the backward pass, plus attention's two products; recomputation does not count.
"""
import heapq
import math
import random
import time
from dataclasses import dataclass
from statistics import NormalDist, median

import torch

SIGMA = 1.0  # of the logarithm of a response's length: half a per cent of the rows reach 8 times the mean


# ---------------------------------------------------------------- time

def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(call, device: torch.device) -> float:
    """Seconds of one call, the device's queue emptied before and after; a call that times itself returns its seconds."""
    synchronize(device)
    began = time.perf_counter()
    own = call()
    synchronize(device)
    return own if isinstance(own, float) else time.perf_counter() - began


class Unable(Exception):
    """A side cannot run here; the text is its own reason."""


@dataclass(frozen=True)
class Side:
    """What is measured: a call, and another one to warm up with where the call itself takes long."""
    call: object
    warm: object = None


def take_turns(sides: dict[str, Side], repeats: int, patience: float, device) -> dict[str, list[float] | str]:
    """Seconds of each side, one call a round in turns, after a round of warming up; or why there are none.

    A side that has used up `patience` seconds is measured no more, so that a slow one is measured once.
    """
    found, open_sides = {name: [] for name in sides}, dict(sides)
    for number in range(repeats + 1):
        for name, side in list(open_sides.items()):
            call = side.call if number else side.warm or side.call
            try:
                seconds = seconds_of(call, device)
            except torch.OutOfMemoryError:
                found[name] = "out of memory"
            except Unable as error:
                found[name] = f"does not run here: {error}"
            if isinstance(found[name], str):
                del open_sides[name]
                torch.cuda.empty_cache()  # nothing without CUDA
            elif number:
                found[name].append(seconds)
                if sum(found[name]) > patience:
                    del open_sides[name]
    return found


def spread(values: list) -> list:
    """[median, lowest, highest]"""
    return [f(values) for f in (median, min, max)]


# ---------------------------------------------------------------- lengths

def lognormal_lengths(n: int, average: float, seed: int) -> list[int]:
    """`n` response lengths in tokens, log-normal, from 1 to 8 times the mean: the quantiles, in an order of their own.

    Quantiles and not draws: every seed has the same work to do. The cut takes about a hundredth off the mean.
    """
    log = NormalDist(math.log(average) - SIGMA ** 2 / 2, SIGMA)
    lengths = [math.exp(log.inv_cdf((i + 0.5) / n)) for i in range(n)]
    lengths = [min(max(1, round(x)), round(8 * average)) for x in lengths]
    random.Random(seed).shuffle(lengths)
    return lengths


def makespan(lengths: list[int], slots: int) -> int:
    """Decode steps that rows of these lengths take when a free slot takes the next one at once."""
    ends = [0] * slots
    for length in lengths:
        heapq.heappushpop(ends, ends[0] + length)
    return max(ends)


# ---------------------------------------------------------------- floors

@dataclass(frozen=True)
class Machine:
    bandwidth: float  # bytes read and written per second by a large copy
    rate: float  # operations per second of a large matrix product in the compute type

    def floor(self, size: float, operations: float) -> tuple[float, str]:
        """(seconds at least, which of the two says so)."""
        return max((size / self.bandwidth, "bytes"), (operations / self.rate, "operations"))


def measure_machine(device, dtype, size: int, width: int) -> Machine:
    """`size`: bytes of the tensor that is copied; `width`: rows and columns of the matrices. Medians of five."""
    source, target = (torch.zeros(size, dtype=torch.uint8, device=device) for _ in range(2))
    a, b = (torch.randn(width, width, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)

    def typical(call) -> float:
        return median([seconds_of(call, device) for _ in range(7)][2:])

    return Machine(2 * size / typical(lambda: target.copy_(source)),
                   2 * width ** 3 / typical(lambda: torch.mm(a, b, out=out)))


def matrix_weights(model) -> tuple[int, int]:
    """(weights of the layers' matrices, weights of the head): what a token is multiplied with."""
    c = model.config
    return sum(p.numel() for p in model.layers.parameters() if p.dim() > 1), c.vocab_size * c.hidden_size


def weight_bytes(model) -> int:
    """Bytes of weights that a decode step reads: all of them, but of an untied embedding only single rows."""
    looked_up = 0 if model.config.tie_word_embeddings else model.embed_tokens.weight.numel()
    weights = sum(p.numel() for p in model.parameters()) - looked_up
    return weights * model.embed_tokens.weight.element_size()


def kv_bytes(model) -> int:
    """Bytes of the keys and values of one token."""
    c = model.config
    return 2 * c.num_hidden_layers * c.num_key_value_heads * c.head_size * model.embed_tokens.weight.element_size()


def attention_operations(model, pairs: int) -> int:
    """Operations of attention for so many pairs of a token and one that it sees: two products in every head."""
    c = model.config
    return 4 * c.num_hidden_layers * c.num_attention_heads * c.head_size * pairs


def forward_operations(model, lengths: list[int], scored: int) -> int:
    """Operations of a causal forward pass over rows of these lengths, the head on `scored` positions alone."""
    layers, head = matrix_weights(model)
    return 2 * (layers * sum(lengths) + head * scored) + attention_operations(model, sum(n * (n + 1) // 2 for n in lengths))


def decode_work(model, slots: int, context: int) -> tuple[int, int]:
    """(bytes, operations) of one decode step of `slots` rows that each see `context` tokens."""
    size = weight_bytes(model) + slots * context * kv_bytes(model)
    return size, 2 * sum(matrix_weights(model)) * slots + attention_operations(model, slots * context)


def rollout_work(model, prompts: list[int], n: int, lengths: list[int], slots: int) -> tuple[int, int]:
    """(bytes, operations) of a whole rollout: prompts of these lengths prefilled once each, `n` responses to each.

    Bytes: the weights once for each of the steps that perfect refilling needs, and what each token sees, when it is drawn.
    """
    starts = [p for p in prompts for _ in range(n)]
    seen = sum(t * start + t * (t + 1) // 2 for start, t in zip(starts, lengths))
    size = makespan(lengths, slots) * weight_bytes(model) + seen * kv_bytes(model)
    decode = 2 * sum(matrix_weights(model)) * sum(lengths) + attention_operations(model, seen)
    return size, decode + forward_operations(model, [p - 1 for p in prompts], 0)

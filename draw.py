"""One id a row from its logits: temperature, top-k, top-p, min-p, and the log-probability of what was drawn.

Shapes: B rows, V vocabulary. All arithmetic is fp32 or finer, whatever the model computes in.
"""
import functools
import math
from dataclasses import dataclass

import torch

from config import Refusal

ONE_STRIDE = 4096  # ids: up to here the sums of blocks cost more than they save
LAST_BELOW_1 = 1 - 2 ** -40  # rounding must not point past the end of a block


@dataclass(frozen=True)
class Sampling:
    """How to draw, and when to stop."""
    max_new_tokens: int = 256
    temperature: float = 1.0  # 0 is greedy
    top_k: int = 0  # keep the k likeliest ids; 0 keeps all
    top_p: float = 1.0  # keep the smallest set of ids with this much probability
    min_p: float = 0.0  # keep ids with at least this share of the likeliest id's probability
    stop_strings: tuple[str, ...] = ()  # end a response when its text ends in one; kept in the output

    def __post_init__(self):
        for ok, what in ((self.max_new_tokens >= 1, "max_new_tokens must be at least 1"),
                         (self.temperature >= 0, "temperature must not be negative"),
                         (self.top_k >= 0, "top_k must not be negative"),
                         (0 < self.top_p <= 1, "top_p must be above 0 and at most 1"),
                         (0 <= self.min_p <= 1, "min_p must be between 0 and 1"),
                         (all(self.stop_strings), "a stop string must not be empty")):
            if not ok:
                raise Refusal(what)


def keep_likely(logits, s: Sampling):
    """logits [B, V] with the ids that top-k, top-p and min-p drop at -inf; the likeliest id always stays."""
    if s.top_k:
        logits = logits.masked_fill(logits < logits.topk(min(s.top_k, logits.shape[1])).values[:, -1:], float("-inf"))
    if s.min_p:
        floor = logits.max(dim=1, keepdim=True).values + torch.tensor(s.min_p).log().item()
        logits = logits.masked_fill(logits < floor, float("-inf"))
    if s.top_p < 1:
        ordered, order = logits.sort(dim=1, descending=True)
        before = ordered.softmax(1).cumsum(1) - ordered.softmax(1)  # probability of the ids before this one
        drop = torch.empty_like(before, dtype=torch.bool).scatter_(1, order, before >= s.top_p)
        logits = logits.masked_fill(drop, float("-inf"))
    return logits


@functools.lru_cache(maxsize=8)
def block_width(vocabulary: int) -> int:
    """The largest divisor of a vocabulary's size up to its square root: 128 of Qwen's 151,936."""
    return max(d for d in range(1, math.isqrt(vocabulary) + 1) if vocabulary % d == 0)


def invert(weight, uniform):
    """Where the cumulative sum of weight [B, n] passes uniform [B, 1] of its whole: (place [B, 1], edges [B, n])."""
    # fp64, since a GPU adds in parallel: fp32 edges need not rise, and an id of probability 0 could be drawn.
    edges = weight.cumsum(1, dtype=torch.float64)
    # right=True: the first edge beyond the number, which skips what has no weight; the last edge itself is never reached.
    place = torch.searchsorted(edges, uniform * edges[:, -1:], right=True)
    return place.clamp_max(edges.shape[1] - 1), edges  # the clamp is for weights that are not numbers


def draw(logits, uniform, s: Sampling):
    """One id a row: logits [B, V], uniform [B] in [0, 1) to (ids [B], their log-probs [B]).

    The log-prob is that of the distribution drawn from: after temperature and after what top-k, top-p and min-p drop.
    Greedy reports it at temperature 1. Drawing inverts the cumulative distribution, one uniform number a token; of a large
    vocabulary in two strides, first to a block of ids, then to one of them, so that without top-k, top-p and min-p there
    is one fp32 tensor [B, V] and no second (156 MB of Qwen's at 256 rows).
    """
    temperature = s.temperature
    if temperature and (s.top_k or s.min_p or s.top_p < 1):
        logits, temperature = keep_likely(logits.float() / temperature, s), 1.0
    top, best = logits.max(dim=1, keepdim=True)
    weight = logits - top.float()  # (B, V), fp32 whatever the logits are
    if temperature not in (0, 1):
        weight.div_(temperature)
    weight.exp_()  # the likeliest id weighs 1: nothing overflows
    if temperature == 0:
        return best.squeeze(1), -weight.sum(1).log()
    if weight.shape[1] <= ONE_STRIDE:
        ids, edges = invert(weight, uniform[:, None])
    else:
        blocks = weight.unflatten(1, (-1, block_width(weight.shape[1])))  # (B, blocks, ids of a block)
        sums = blocks.sum(-1)  # in fp64 it would copy all of the weights first; `invert` adds the sums up in fp64
        block, edges = invert(sums, uniform[:, None])
        mass = sums.gather(1, block)
        share = (uniform[:, None] * edges[:, -1:] - edges.gather(1, block) + mass) / mass  # how far into the block
        within = blocks.gather(1, block[..., None].expand(-1, 1, blocks.shape[2])).squeeze(1)
        ids = block * blocks.shape[2] + invert(within, share.clamp(0, LAST_BELOW_1))[0]
    return ids.squeeze(1), (weight.gather(1, ids) / edges[:, -1:]).log().squeeze(1).float()

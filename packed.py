"""Attention over sequences that stand one after another in a single row, none of which sees another.

Rows of different lengths, padded to the longest, make the GPU compute on nothing. Packed, a micro-batch of N tokens costs
N tokens: only attention has to know where a sequence begins, and positions start anew there.

Shapes: N tokens of all sequences together, H query heads, K key/value heads, D head size.
"""
import inspect
import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.nn.attention.varlen import varlen_attn


@dataclass(frozen=True)
class Sequences:
    """Where the sequences of a packed row stand."""
    lengths: list[int]
    begin: list[int]  # of each sequence, its first token
    ends: torch.Tensor  # [sequences + 1], int32: 0, then the end of each
    position: torch.Tensor  # [N], of each token in its own sequence
    which: torch.Tensor  # [N], each token's sequence

    @classmethod
    def of(cls, lengths: list[int], device) -> "Sequences":
        ends = [0, *itertools.accumulate(lengths)]
        which = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
        position = torch.arange(ends[-1]) - torch.tensor(ends)[which]
        return cls(lengths, ends[:-1], torch.tensor(ends, dtype=torch.int32, device=device), position.to(device),
                   which.to(device))


def usable(model) -> bool:
    """Whether this model's attention has a kernel for packed rows: flash attention, from Ampere on, in 16 bits."""
    weight = model.embed_tokens.weight
    return (weight.is_cuda and weight.dtype in (torch.bfloat16, torch.float16) and model.config.head_size % 8 == 0
            and model.config.head_size <= 256 and torch.cuda.get_device_capability(weight.device) >= (8, 0))


def attend(q, k, v, rows: Sequences):
    """Causal attention within each sequence: q [1, H, N, D], k and v [1, K, N, D] to [1, H, N, D]."""
    if not q.is_cuda:
        return one_by_one(q, k, v, rows.lengths)
    q, k, v = (x[0].transpose(0, 1) for x in (q, k, v))  # (N, H, D)
    more, group = {}, q.shape[1] // k.shape[1]
    if group > 1 and "enable_gqa" in inspect.signature(varlen_attn).parameters:
        more = {"enable_gqa": True}
    elif group > 1:  # torch 2.11 does not promise it yet
        k, v = (x.repeat_interleave(group, 1) for x in (k, v))
    longest = max(rows.lengths)
    out = varlen_attn(q, k, v, rows.ends, rows.ends, longest, longest, window_size=(-1, 0), **more)  # (-1, 0): causal
    return out.transpose(0, 1)[None]


def one_by_one(q, k, v, lengths: list[int]):
    """The same, plainly: the reference for the kernel."""
    parts = zip(*(x.split(lengths, dim=2) for x in (q, k, v)))
    return torch.cat([F.scaled_dot_product_attention(*part, is_causal=True, enable_gqa=q.shape[1] != k.shape[1])
                      for part in parts], dim=2)

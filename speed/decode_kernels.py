"""Which of PyTorch's own kernels serves a ragged decode best.

One token a row, rows of log-normal lengths in one cache. The floor is the live keys and values over
the measured bandwidth. Every kernel's output is compared with the first one's.

Shapes: B slots, H query heads, K key/value heads, S capacity, D head size. Cache [B, K, S, D],
queries [B, H, 1, D].
"""

import torch
import torch.nn.functional as F

import model as lm
from engine.attention import attend_written_out
from speed import measure
from speed.floors import Machine
from speed.lengths import lognormal_lengths
from speed.measure import Side

# What varlen_attn calls, and engine/attention.py too.
VARLEN = "flash attention (aten) with seqused_k"
PATIENCE = 10.0  # seconds that a kernel is measured


# ---------------------------------------------------------------- the kernels


def kernels(q, k, v, lengths) -> dict[str, object]:
    """Calls by name, each [B, H, 1, D].

    What does not depend on the layer (masks, offsets) is made before.
    """
    longest = int(lengths.max())
    seen = torch.arange(longest, device=q.device) < lengths[:, None]  # (B, S)
    mask = torch.zeros_like(seen, dtype=q.dtype).masked_fill_(~seen, float("-inf"))
    mask = mask[:, None, None]  # (B, 1, 1, S)
    grouped = q.shape[1] != k.shape[1]
    short_k = k[:, :, :longest]
    short_v = v[:, :, :longest]

    def written_out_call():
        return written_out(q, short_k, short_v, mask)

    def sdpa_call():
        return F.scaled_dot_product_attention(
            q, short_k, short_v, attn_mask=mask, enable_gqa=grouped
        )

    return {
        "matrix products, written out": written_out_call,
        "SDPA with a mask": sdpa_call,
        VARLEN: varlen_call(q, k, v, lengths, longest),
    }


def written_out(q, k, v, mask):
    """The sampler's own on a CPU: q [B, H, 1, D], k and v [B, K, S, D], mask [B, 1, 1, S]."""
    B, H, _, D = q.shape
    K = k.shape[1]
    queries = q.view(B * K, H // K, D)
    keys = k.flatten(0, 1).transpose(1, 2)  # (B * K, D, S)
    values = v.flatten(0, 1)  # (B * K, S, D)
    masks = mask.expand(-1, K, -1, -1).flatten(0, 1)
    return attend_written_out(queries, keys, values, masks).view(B, H, 1, D)


def varlen_arguments(q, k, v, lengths) -> tuple:
    """(query, key, value, offsets of queries, offsets of keys, lengths) of a head-major cache.

    All are views of it: each key/value head of each slot is a sequence of its own with H/K query
    heads, so the cache stays as it is.
    """
    B, H, _, D = q.shape
    K, S = k.shape[1:3]
    query = q.reshape(B * K, H // K, D)
    key = k.view(B * K * S, 1, D)
    value = v.view(B * K * S, 1, D)
    offsets = torch.arange(B * K + 1, dtype=torch.int32, device=q.device)
    used = lengths.repeat_interleave(K).to(torch.int32)
    return query, key, value, offsets, offsets * S, used


def varlen_call(q, k, v, lengths, longest: int):
    """A call of flash attention with the lengths of rows, [B, H, 1, D]."""
    query, key, value, query_at, key_at, used = varlen_arguments(q, k, v, lengths)

    def call():
        out = torch.ops.aten._flash_attention_forward(
            query, key, value, query_at, key_at, 1, longest, 0.0, False, False, seqused_k=used
        )
        return out[0].view(q.shape)

    return call


def captured(call, device):
    """The call as a CUDA graph, so that Python's time is not measured; on a CPU the call itself."""
    if device.type != "cuda":
        return call
    aside = torch.cuda.Stream(device)
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        call()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=aside):
        call()
    return graph.replay


# ---------------------------------------------------------------- the comparison


@torch.no_grad()
def compare(
    config: lm.ModelConfig,
    slots: int,
    context: int,
    device,
    dtype,
    machine: Machine,
    repeats: int,
) -> tuple[dict, str]:
    """(figures, table) of one layer's attention at a mean length of `context`."""
    lengths = torch.tensor(lognormal_lengths(slots, context, 0), device=device)
    repetitions = 20 if device.type == "cuda" else 2  # calls in one measurement
    K = config.num_key_value_heads
    D = config.head_size
    q = torch.randn(slots, config.num_attention_heads, 1, D, device=device, dtype=dtype)
    size = int(lengths.sum()) * 2 * K * D * q.element_size()  # bytes
    caches = make_caches(cache_count(size, repetitions, device), q, K, int(lengths.max()))
    alike = [kernels(q, k, v, lengths) for k, v in caches]
    least = size / machine.bandwidth
    shortest = int(lengths.min())
    longest = int(lengths.max())
    lines = [
        f"\nattention of one layer, {slots} slots, lengths of {shortest} to {longest} tokens: "
        f"at least {1e6 * least:,.1f} us"
    ]
    found = {}
    expected = None  # the first kernel's output
    for name in alike[0]:
        calls = [each[name] for each in alike]
        found[name] = kernel_seconds(name, calls, repetitions, repeats, device)
        if isinstance(found[name], str):
            lines.append(f"  {name:<40}{found[name]}")
            continue
        out = calls[0]()
        if expected is None:
            expected = out
        difference = (out - expected).abs().max().item()
        seconds = found[name]
        found[name] = {"seconds": seconds, "largest_difference": difference}
        middle = measure.spread(seconds)[0]
        lines.append(
            f"  {name:<40}{1e6 * middle:>12,.1f} us, {least / middle:.1%} of the floor's speed, "
            f"largest difference {difference:.1e}"
        )
    return {"floor": least, "kernels": found}, "\n".join(lines)


def cache_count(size: int, repetitions: int, device) -> int:
    """The number of caches of `size` bytes that calls take turns on.

    Together they are twice as large as the GPU's own cache, so that a layer's keys and values are
    not there when they are read.
    """
    if device.type != "cuda":
        return 1
    twice = 2 * torch.cuda.get_device_properties(device).L2_cache_size
    return min(-(-twice // size), repetitions)


def make_caches(number: int, q, kv_heads: int, longest: int) -> list[tuple]:
    """(keys, values) [B, K, S, D] of random numbers, with room for `longest` positions."""
    slots, _, _, D = q.shape
    capacity = -(-longest // 256) * 256
    caches = []
    for _ in range(number):
        keys = torch.randn(slots, kv_heads, capacity, D, device=q.device, dtype=q.dtype)
        values = torch.randn_like(keys)
        caches.append((keys, values))
    return caches


def kernel_seconds(
    name: str, calls: list, repetitions: int, repeats: int, device
) -> list[float] | str:
    """Seconds of one call of a kernel, or why there are none; calls on several caches in turn."""
    if device.type != "cuda" and name == VARLEN:
        return "needs a GPU"

    def many():
        for i in range(repetitions):
            calls[i % len(calls)]()

    work = {name: Side(captured(many, device))}
    found = measure.take_turns(work, repeats, PATIENCE, device)[name]
    if isinstance(found, str):
        return found
    return [seconds / repetitions for seconds in found]

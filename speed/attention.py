"""Which of PyTorch's own kernels serves a ragged decode best: one token a row, rows of log-normal lengths in one cache.

Shapes: B slots, H query heads, K key/value heads, S capacity, D head size. Cache [B, K, S, D], queries [B, H, 1, D].
The floor is the live keys and values over the measured bandwidth. Every kernel's output is compared with the first one's.
"""
import torch
import torch.nn.functional as F

import model as lm
from engine.attention import attend_written_out
from speed import measure
from speed.measure import Machine, Side

VARLEN = "flash attention (aten) with seqused_k"  # what varlen_attn calls, and engine/attention.py too


def kernels(q, k, v, lengths) -> dict[str, object]:
    """Calls by name, each [B, H, 1, D]; what does not depend on the layer (masks, offsets) is made before."""
    longest = int(lengths.max())
    seen = torch.arange(longest, device=q.device) < lengths[:, None]  # (B, S)
    mask = torch.zeros_like(seen, dtype=q.dtype).masked_fill_(~seen, float("-inf"))[:, None, None]
    grouped = q.shape[1] != k.shape[1]
    short_k, short_v = k[:, :, :longest], v[:, :, :longest]
    return {"matrix products, written out": lambda: written_out(q, short_k, short_v, mask),
            "SDPA with a mask": lambda: F.scaled_dot_product_attention(q, short_k, short_v, attn_mask=mask,
                                                                       enable_gqa=grouped),
            VARLEN: varlen_call(q, k, v, lengths, longest)}


def written_out(q, k, v, mask):
    """The sampler's own on a CPU: q [B, H, 1, D], k and v [B, K, S, D], mask [B, 1, 1, S]."""
    (B, H, _, D), K = q.shape, k.shape[1]
    every = mask.expand(-1, K, -1, -1).flatten(0, 1)
    out = attend_written_out(q.view(B * K, H // K, D), k.flatten(0, 1).transpose(1, 2), v.flatten(0, 1), every)
    return out.view(B, H, 1, D)


def varlen_arguments(q, k, v, lengths) -> tuple:
    """(query, key, value, offsets of queries, offsets of keys, lengths) of a head-major cache, all views of it.

    Each key/value head of each slot is a sequence of its own with H/K query heads, so the cache stays as it is.
    """
    B, H, _, D = q.shape
    K, S = k.shape[1:3]
    offsets = torch.arange(B * K + 1, dtype=torch.int32, device=q.device)
    return (q.reshape(B * K, H // K, D), k.view(B * K * S, 1, D), v.view(B * K * S, 1, D), offsets, offsets * S,
            lengths.repeat_interleave(K).to(torch.int32))


def varlen_call(q, k, v, lengths, longest: int):
    query, key, value, at_q, at_k, used = varlen_arguments(q, k, v, lengths)
    return lambda: torch.ops.aten._flash_attention_forward(query, key, value, at_q, at_k, 1, longest, 0.0, False, False,
                                                           seqused_k=used)[0].view(q.shape)


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


@torch.no_grad()
def compare(c: lm.ModelConfig, slots: int, context: int, device, dtype, machine: Machine,
            repeats: int) -> tuple[dict, str]:
    """(figures, table) of one layer's attention at a mean length of `context`."""
    lengths = torch.tensor(measure.lognormal_lengths(slots, context, 0), device=device)
    capacity, calls = -(-int(lengths.max()) // 256) * 256, 20 if device.type == "cuda" else 2
    q = torch.randn(slots, c.num_attention_heads, 1, c.head_size, device=device, dtype=dtype)
    size = int(lengths.sum()) * 2 * c.num_key_value_heads * c.head_size * q.element_size()
    # Calls take turns on caches that are together twice as large as the GPU's own: a layer's is not there when it is read.
    caches = -(-2 * torch.cuda.get_device_properties(device).L2_cache_size // size) if device.type == "cuda" else 1
    kv = [[torch.randn(slots, c.num_key_value_heads, capacity, c.head_size, device=device, dtype=dtype) for _ in range(2)]
          for _ in range(min(caches, calls))]
    least, found, known = size / machine.bandwidth, {}, None
    lines = [f"\nattention of one layer, {slots} slots, lengths of {int(lengths.min())} to {int(lengths.max())} tokens: "
             f"at least {1e6 * least:,.1f} us"]
    alike = [kernels(q, k, v, lengths) for k, v in kv]
    for name, call in alike[0].items():
        if device.type != "cuda" and name == VARLEN:
            found[name] = "needs a GPU"
        else:
            def many(name=name):
                for i in range(calls):
                    alike[i % len(alike)][name]()
            found[name] = measure.take_turns({name: Side(captured(many, device))}, repeats, 10.0, device)[name]
        if isinstance(found[name], str):
            lines.append(f"  {name:<40}{found[name]}")
            continue
        out = call()
        known = out if known is None else known
        seconds = [s / calls for s in found[name]]
        found[name] = {"seconds": seconds, "largest_difference": (out - known).abs().max().item()}
        middle = measure.spread(seconds)[0]
        lines.append(f"  {name:<40}{1e6 * middle:>12,.1f} us, {least / middle:.1%} of the floor's speed, "
                     f"largest difference {found[name]['largest_difference']:.1e}")
    return {"floor": least, "kernels": found}, "\n".join(lines)

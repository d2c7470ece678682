"""Flash attention with rows' own lengths, `aten::_flash_attention_forward`, for tensors of a CPU.

It reads its arguments as the kernel does and refuses what the kernel refuses: the reference that the decode step's
calls are held against where there is no GPU.
"""

import torch


def flash_forward(
    q,
    k,
    v,
    query_ends,
    key_begins,
    longest_query: int,
    longest_key: int,
    dropout: float,
    causal: bool,
    debug_mask: bool,
    *,
    scale=None,
    window_size_left=None,
    window_size_right=None,
    seqused_k=None,
    **_,
):
    """q [N, H, D], k and v [S, K, D]; sequence i has the queries and keys from its begin on."""
    sequences = len(query_ends) - 1
    assert query_ends.dtype == key_begins.dtype == torch.int32
    assert query_ends.is_contiguous() and key_begins.is_contiguous()
    assert query_ends.shape == key_begins.shape
    assert q.dtype == k.dtype == v.dtype and q.dim() == k.dim() == 3 and k.shape == v.shape
    assert q.stride(-1) == k.stride(-1) == v.stride(-1) == 1
    assert q.shape[2] % 8 == 0 and q.shape[1] % k.shape[1] == 0
    assert dropout == 0.0 and not causal and not debug_mask
    assert seqused_k.dtype == torch.int32 and seqused_k.is_contiguous()
    assert seqused_k.shape == (sequences,)
    out = torch.empty_like(q)
    shared = q.shape[1] // k.shape[1]
    for i in range(sequences):
        first, end = int(query_ends[i]), int(query_ends[i + 1])
        begin, used = int(key_begins[i]), int(seqused_k[i])
        assert end - first <= longest_query and used <= longest_key and begin + used <= len(k)
        keys, values = (
            x[begin : begin + used].repeat_interleave(shared, 1).float() for x in (k, v)
        )
        scores = torch.einsum("qhd,khd->hqk", q[first:end].float(), keys) * scale
        out[first:end] = torch.einsum("hqk,khd->qhd", scores.softmax(-1), values).to(q.dtype)
    nothing = q.new_empty(0)
    return out, nothing, nothing, nothing, nothing


def install() -> torch.library.Library:
    """Serve CPU tensors with it for as long as the result is kept."""
    library = torch.library.Library("aten", "IMPL")
    library.impl("_flash_attention_forward", flash_forward, "CPU")
    return library

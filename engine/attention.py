"""What differs between training, prefill and decoding: which tokens a token may look at, and how.

The layers of `model.py` work on a list of N tokens and do not know to which row a token belongs.
They are handed one of the objects below, which knows it:

    attention.position               [N], the position of each token in its own row
    attention.longest                a number that no position reaches
    attention.attend(layer, q, k, v) queries [N, H, D], keys and values [N, K, D] of one layer's
                                     tokens to what the queries gather, [N, H, D]

`Causal` serves rows that are padded to one length, `Packed` rows that stand one after another
without padding, `Cached` rows that go on from the keys and values of a cache. `Filling` makes one
of the first two leave its keys and values in a cache: that is prefill.

Shapes: B rows, T new tokens a row, N tokens of all rows together, S positions of the cache that
are read, H query heads, K key/value heads, D head size.
"""

import inspect
import itertools

import torch
import torch.nn.functional as F
from torch.nn.attention.varlen import varlen_attn


class Causal:
    """B rows of T tokens, the shorter ones padded on the right, where nothing looks at them."""

    def __init__(self, rows: int, width: int, device):
        self.rows = rows
        self.width = width
        self.longest = width
        self.row = torch.arange(rows, device=device).repeat_interleave(width)  # (N,)
        self.position = torch.arange(width, device=device).repeat(rows)  # (N,)

    def attend(self, layer: int, q, k, v):
        q, k, v = (self.by_row(x) for x in (q, k, v))  # (B, H or K, T, D)
        grouped = q.shape[1] != k.shape[1]
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
        return out.transpose(1, 2).flatten(0, 1)

    def by_row(self, x):
        """[N, heads, D] to [B, heads, T, D]."""
        return x.unflatten(0, (self.rows, self.width)).transpose(1, 2)


# ---------------------------------------------------------------- rows without padding


def has_packed_kernel(weight, head_size: int) -> bool:
    """Whether there is a kernel for packed rows: flash attention, in 16 bits, from Ampere on."""
    if not weight.is_cuda or weight.dtype not in (torch.bfloat16, torch.float16):
        return False
    if torch.cuda.get_device_capability(weight.device) < (8, 0):
        return False
    return head_size % 8 == 0 and head_size <= 256


class Packed:
    """Rows of any lengths that stand one after another, so that nothing is computed on padding."""

    def __init__(self, lengths: list[int], device):
        ends = [0, *itertools.accumulate(lengths)]
        self.lengths = lengths
        self.begin = ends[:-1]  # of each row, its first token
        self.longest = max(lengths)
        self.ends = torch.tensor(ends, dtype=torch.int32, device=device)  # (rows + 1,)
        row = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
        self.row = row.to(device)  # (N,)
        self.position = (torch.arange(ends[-1]) - torch.tensor(ends)[row]).to(device)  # (N,)

    def attend(self, layer: int, q, k, v):
        if not q.is_cuda:
            return attend_one_by_one(q, k, v, self.lengths)
        group = q.shape[1] // k.shape[1]
        options = {}
        if group > 1 and "enable_gqa" in inspect.signature(varlen_attn).parameters:
            options["enable_gqa"] = True
        elif group > 1:  # torch 2.11 does not promise shared heads yet
            k = k.repeat_interleave(group, 1)
            v = v.repeat_interleave(group, 1)
        causal = (-1, 0)  # the window: everything before a token, nothing after it
        return varlen_attn(
            *(q, k, v, self.ends, self.ends, self.longest, self.longest),
            window_size=causal,
            **options,
        )


def attend_one_by_one(q, k, v, lengths: list[int]):
    """Causal attention within each packed row, plainly: the reference for the kernel."""
    gathered = []
    for parts in zip(*(x.split(lengths) for x in (q, k, v))):
        row_q, row_k, row_v = (part.transpose(0, 1)[None] for part in parts)  # (1, heads, T, D)
        grouped = q.shape[1] != k.shape[1]
        out = F.scaled_dot_product_attention(
            row_q, row_k, row_v, is_causal=True, enable_gqa=grouped
        )
        gathered.append(out[0].transpose(0, 1))
    return torch.cat(gathered)


# ---------------------------------------------------------------- rows with a cache


class Filling:
    """Prefill: another attention, of rows that begin here, leaves keys and values in a cache."""

    def __init__(self, attention, cache):
        self.attention = attention
        self.cache = cache
        self.longest = attention.longest
        self.position = attention.position

    def attend(self, layer: int, q, k, v):
        keys, values = self.cache.layer(layer)  # (slots, K, capacity, D) each
        # Indexed by (row, position) first, then (K, D).
        keys[self.attention.row, :, self.position] = k
        values[self.attention.row, :, self.position] = v
        return self.attention.attend(layer, q, k, v)


class Cached:
    """T new tokens for each of the first B slots of a cache; row b goes on at `cache.lengths[b]`.

    spans: pairs (rows, positions): so many rows, from the last pair's end on, of which so many
    positions are read, the new ones included. More than one pair pays where a few rows are long.
    flash: read through flash attention, which knows each row's length, not through a mask.
    """

    def __init__(self, cache, spans: list[tuple[int, int]], new: int = 1, flash: bool = False):
        rows = sum(n for n, _ in spans)
        lengths = cache.lengths[:rows]
        self.cache = cache
        self.new = new
        self.counts = [n * new for n, _ in spans]
        self.longest = max(positions for _, positions in spans)
        assert self.longest <= cache.capacity, "longer than the cache"
        if new == 1:
            self.position = lengths
            # (N, K), rows of a layer's flat cache
            self.place = cache.begin[:rows] + lengths[:, None]
        else:
            steps = torch.arange(new, device=lengths.device)
            position = lengths[:, None] + steps  # (B, T)
            self.position = position.flatten()
            self.place = (cache.begin[:rows, None] + position[:, :, None]).flatten(0, 1)
        self.pasts = []
        first = 0
        for count, positions in spans:
            slots = slice(first, first + count)
            first += count
            if flash:
                past = FlashPast(cache, slots, positions)
            else:
                past = MaskedPast(cache, slots, positions, new)
            self.pasts.append(past)

    def attend(self, layer: int, q, k, v):
        self.cache.flat_keys[layer].index_put_((self.place,), k)
        self.cache.flat_values[layer].index_put_((self.place,), v)
        if len(self.pasts) == 1:
            return self.pasts[0].attend(layer, q)
        parts = zip(self.pasts, q.split(self.counts))
        return torch.cat([past.attend(layer, part) for past, part in parts])


class MaskedPast:
    """Keys and values of some slots up to `width` positions, and a mask for what a row lacks."""

    def __init__(self, cache, slots: slice, width: int, new: int):
        self.new = new
        self.kv_heads = cache.kv_heads
        # A slot's heads lie one after another, so (slot, head) pairs can be one dimension.
        past = cache.kv[:, :, slots, :, :width].flatten(2, 3)  # (L, 2, B * K, S, D), a view
        self.keys = past[:, 0].transpose(2, 3).unbind()  # of each layer (B * K, D, S)
        self.values = past[:, 1].unbind()
        self.mask = self.additive_mask(cache, cache.lengths[slots], width)

    def additive_mask(self, cache, lengths, width: int):
        """0 where a new token may look, else -inf: [B * K, 1, S], with T > 1 [B, 1, 1, T, S]."""
        positions = cache.positions[:width]
        if self.new == 1:
            unseen = positions > lengths[:, None]  # (B, S)
            mask = torch.where(unseen, float("-inf"), 0.0).to(cache.kv.dtype)
            return mask[:, None, None].expand(-1, self.kv_heads, -1, -1).flatten(0, 1)
        steps = torch.arange(self.new, device=lengths.device)
        unseen = positions > (lengths[:, None] + steps)[..., None]  # (B, T, S)
        return torch.where(unseen, float("-inf"), 0.0).to(cache.kv.dtype)[:, None, None]

    def attend(self, layer: int, q):
        """q [B * T, H, D] to the same."""
        if self.new == 1:
            grouped = q.reshape(len(self.mask), -1, q.shape[-1])  # (B * K, H / K, D)
            return attend_written_out(
                grouped, self.keys[layer], self.values[layer], self.mask
            ).view_as(q)
        # The rows of the matrix are (head of the group, token).
        N, H, D = q.shape
        B, K, T = N // self.new, self.kv_heads, self.new
        grouped = q.view(B, T, K, H // K, D).permute(0, 2, 3, 1, 4).reshape(B * K, -1, D)
        mask = self.mask.expand(-1, K, H // K, -1, -1).reshape(B * K, grouped.shape[1], -1)
        out = attend_written_out(grouped, self.keys[layer], self.values[layer], mask)
        return out.view(B, K, H // K, T, D).permute(0, 3, 1, 2, 4).reshape(N, H, D)


def attend_written_out(q, keys, values, mask):
    """Attention as two matrix products: q [P, M, D], keys [P, D, S], values [P, S, D] to [P, M, D].

    P pairs of a row and a key/value head; the M queries that share the head are the rows of one
    matrix, so keys and values are read once and never expanded. Added mask [P, 1 or M, S].
    Twice as fast as scaled_dot_product_attention for one new token on a CPU.
    """
    scores = torch.baddbmm(mask, q, keys, alpha=q.shape[-1] ** -0.5)  # (P, M, S)
    weights = scores.softmax(-1, dtype=torch.float32).to(values.dtype)
    return torch.bmm(weights, values)


class FlashPast:
    """The same for one new token a row on a GPU: flash attention reads of each row what is in use.

    To the kernel each pair of a row and a key/value head is a sequence of its own, whose keys begin
    a cache's capacity after the last one's.
    """

    def __init__(self, cache, slots: slice, width: int):
        rows = slots.stop - slots.start
        self.cache = cache
        self.slots = slots
        self.width = width
        pairs = rows * cache.kv_heads
        self.begin = torch.arange(pairs + 1, device=cache.kv.device, dtype=torch.int32)
        self.begin_keys = self.begin * cache.capacity
        in_use = cache.lengths[slots] + 1  # with the new token
        self.in_use = in_use.repeat_interleave(cache.kv_heads, output_size=pairs).int()

    def attend(self, layer: int, q):
        """q [B, H, D] to the same."""
        keys, values = (self.as_one_list(x[self.slots]) for x in self.cache.layer(layer))
        pairs = len(self.in_use)
        grouped = q.reshape(pairs, -1, q.shape[-1])  # (B * K, H / K, D)
        # This is what torch.nn.attention.varlen.varlen_attn calls; in torch 2.11 that one cannot
        # hand on `seqused_k`.
        out = torch.ops.aten._flash_attention_forward(
            grouped,
            keys,
            values,
            self.begin,
            self.begin_keys,
            1,  # longest query
            self.width,  # longest key
            0.0,  # dropout
            False,  # causal: the one query sees all that is in use
            False,  # debug mask
            scale=q.shape[-1] ** -0.5,
            seqused_k=self.in_use,
        )[0]
        return out.view_as(q)

    def as_one_list(self, held):
        """The slots' keys or values [B, K, capacity, D] as [B * K * capacity, 1, D], a view."""
        return held.flatten(0, 2)[:, None]

"""What differs between training, prefill and decoding: which tokens a token may look at, and how.

The layers of `model.py` work on a list of N tokens and do not know to which row a token belongs.
They are handed one of the objects below, which knows it:

    attention.position               [N], the position of each token in its own row
    attention.longest                a number that no position reaches
    attention.attend(layer, q, k, v) queries [N, H, D], keys and values [N, K, D] of one layer's
                                     tokens to what the queries gather, [N, H, D]

`Causal` serves rows that are padded to one length, `Packed` rows that stand one after another
without padding. Other rows go on from keys and values that are there already: `Cached` from those
of the sampler's cache, `AfterPrompt` and `PackedAfterPrompt` from those of the trainer's prompts.
`Filling` and `Keeping` make one of the first two leave its keys and values behind, the one in a
cache (that is prefill), the other with their gradients.

Shapes: B rows, T new tokens a row, N tokens of all rows together, S positions that were there
before, H query heads, K key/value heads, D head size.
"""

import inspect
import itertools

import torch
import torch.nn.functional as F
from torch.nn.attention.varlen import varlen_attn

from engine.device import on_device


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


def has_packed_kernel(device: torch.device, dtype: torch.dtype, head_size: int) -> bool:
    """Whether there is a kernel for packed rows: flash attention, in 16 bits, from Ampere on."""
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return False
    if torch.cuda.get_device_capability(device) < (8, 0):
        return False
    return head_size % 8 == 0 and head_size <= 256


class Packed:
    """Rows of any lengths that stand one after another, so that nothing is computed on padding."""

    def __init__(self, lengths: list[int], device):
        self.lengths = lengths
        self.longest = max(lengths)
        self.ends = row_ends(lengths, device)
        self.row, self.position = rows_and_places(lengths, device)  # (N,) each

    def attend(self, layer: int, q, k, v):
        if not q.is_cuda:
            return attend_one_by_one(q, k, v, self.lengths, self.lengths)
        return attend_packed(q, k, v, self.ends, self.ends, self.longest, self.longest)


def row_ends(lengths: list[int], device):
    """Where packed rows of these lengths begin and end: [rows + 1], int32, as the kernel reads."""
    return on_device([0, *itertools.accumulate(lengths)], device, torch.int32)


def rows_and_places(lengths: list[int], device) -> tuple[torch.Tensor, torch.Tensor]:
    """(row, place in it) [N] of each token of packed rows of these lengths.

    Both are made on the device: the host sends the lengths alone.
    """
    total = sum(lengths)
    counts = on_device(lengths, device)
    rows = torch.arange(len(lengths), device=device)
    row = rows.repeat_interleave(counts, output_size=total)
    first = counts.cumsum(0) - counts
    return row, torch.arange(total, device=device) - first[row]


def attend_packed(q, k, v, query_ends, key_ends, longest_query: int, longest_key: int):
    """Causal attention within each packed row by the kernel.

    A row may have more keys than queries: its last query then sees all of them.
    """
    group = q.shape[1] // k.shape[1]
    options = {}
    if group > 1 and "enable_gqa" in inspect.signature(varlen_attn).parameters:
        options["enable_gqa"] = True
    elif group > 1:  # torch 2.11 does not promise shared heads yet
        k = k.repeat_interleave(group, 1)
        v = v.repeat_interleave(group, 1)
    causal = (-1, 0)  # the window: everything before a token, nothing after it
    return varlen_attn(
        *(q, k, v, query_ends, key_ends, longest_query, longest_key),
        window_size=causal,
        **options,
    )


def attend_one_by_one(q, k, v, query_lengths: list[int], key_lengths: list[int]):
    """Causal attention within each packed row, plainly: the reference for the kernel."""
    gathered = []
    rows = zip(q.split(query_lengths), k.split(key_lengths), v.split(key_lengths))
    for row_q, row_k, row_v in rows:
        queries, keys = len(row_q), len(row_k)
        seen = torch.ones(queries, keys, dtype=torch.bool, device=q.device).tril(keys - queries)
        out = F.scaled_dot_product_attention(
            *(x.transpose(0, 1)[None] for x in (row_q, row_k, row_v)),  # (1, heads, T, D)
            attn_mask=seen,
            enable_gqa=q.shape[1] != k.shape[1],
        )
        gathered.append(out[0].transpose(0, 1))
    return torch.cat(gathered)


# ---------------------------------------------------------------- responses after a shared prompt


class Keeping:
    """Another attention, whose rows' keys and values are kept with their way to the gradient."""

    def __init__(self, attention):
        self.attention = attention
        self.longest = attention.longest
        self.position = attention.position
        self.kept = []  # keys and values [N, K, D] in turns, layer by layer

    def attend(self, layer: int, q, k, v):
        # A layer that is computed anew in backward comes here again.
        if len(self.kept) == 2 * layer:
            self.kept += (k, v)
        return self.attention.attend(layer, q, k, v)


class AfterPrompt:
    """Responses that go on from prompts which were computed once for all of them.

    B rows of T tokens, padded on the right. kept: keys and values of the prompts' tokens, [M, K, D]
    in turns, layer by layer. begin, before: of each row's prompt, its first token in there, and how
    many of its ids are in there: all but the last, which the row itself computes.
    """

    def __init__(
        self, kept: list, begin: list[int], before: list[int], width: int, heads: int, dtype
    ):
        device = kept[0].device
        self.kept = kept
        self.kv_heads = kept[0].shape[1]
        self.rows = len(before)
        self.width = width
        longest_before = max(before)
        self.longest = longest_before + width
        length = on_device(before, device)[:, None]
        steps = torch.arange(width, device=device)
        self.position = (length + steps).flatten()  # (B * T,)
        # Prompts are padded on the left, so that a response follows its prompt: column s of row b
        # is token `place` of the prompts.
        column = torch.arange(longest_before, device=device)
        missing = longest_before - length  # (B, 1)
        place = on_device(begin, device)[:, None] + column - missing  # (B, S)
        self.place = place.clamp_min(0).flatten()
        in_prompt = (column >= missing)[:, None].expand(-1, width, -1)  # (B, T, S)
        in_response = (steps <= steps[:, None]).expand(self.rows, -1, -1)  # (B, T, T)
        seen = torch.cat((in_prompt, in_response), dim=2)  # (B, T, S + T)
        self.mask = mask_of_groups(seen, self.kv_heads, heads, dtype)

    def attend(self, layer: int, q, k, v):
        keys = self.with_prompt(self.kept[2 * layer], k)  # (B, S + T, K, D)
        values = self.with_prompt(self.kept[2 * layer + 1], v)
        out = attend_written_out(
            by_group(q, self.rows, self.kv_heads),
            keys.permute(0, 2, 3, 1).flatten(0, 1),  # (B * K, D, S + T)
            values.transpose(1, 2).flatten(0, 1),  # (B * K, S + T, D)
            self.mask,
        )
        return by_token(out, self.rows, self.width)

    def with_prompt(self, kept, new):
        """[B, S + T, K, D] of prompts and responses, from kept [M, K, D] and new [B * T, K, D]."""
        prompts = kept.index_select(0, self.place).to(new.dtype)
        shape = (self.rows, -1, *new.shape[1:])
        return torch.cat((prompts.view(shape), new.view(shape)), dim=1)


class PackedAfterPrompt:
    """The same without padding: responses of any lengths, one after another."""

    def __init__(self, kept: list, begin: list[int], before: list[int], new: list[int]):
        device = kept[0].device
        self.kept = kept
        self.new = new
        self.both = [old + added for old, added in zip(before, new)]
        self.longest = max(self.both)
        self.query_ends = row_ends(new, device)
        self.key_ends = row_ends(self.both, device)
        length = on_device(before, device)
        row, step = rows_and_places(new, device)
        self.position = length[row] + step  # (N,)
        # Of each key, its token among the kept ones, or behind them among the new ones.
        first_new = [*itertools.accumulate(new[:-1], initial=len(kept[0]))]
        row, step = rows_and_places(self.both, device)
        in_prompt = on_device(begin, device)[row] + step
        in_response = on_device(first_new, device)[row] + step - length[row]
        self.place = torch.where(step < length[row], in_prompt, in_response)

    def attend(self, layer: int, q, k, v):
        keys = self.with_prompt(self.kept[2 * layer], k)
        values = self.with_prompt(self.kept[2 * layer + 1], v)
        if not q.is_cuda:
            return attend_one_by_one(q, keys, values, self.new, self.both)
        return attend_packed(
            *(q, keys, values, self.query_ends, self.key_ends), max(self.new), self.longest
        )

    def with_prompt(self, kept, new):
        """Prompt and response of each row, one row after another: [keys, K, D]."""
        return torch.cat((kept.to(new.dtype), new)).index_select(0, self.place)


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
        """Where new tokens may look: 0 or else -inf, [B * K, 1, S]; with T > 1 bool, [B, T, S]."""
        positions = cache.positions[:width]
        if self.new == 1:
            unseen = positions > lengths[:, None]  # (B, S)
            mask = torch.where(unseen, float("-inf"), 0.0).to(cache.kv.dtype)
            return mask[:, None, None].expand(-1, self.kv_heads, -1, -1).flatten(0, 1)
        steps = torch.arange(self.new, device=lengths.device)
        return positions <= (lengths[:, None] + steps)[..., None]

    def attend(self, layer: int, q):
        """q [B * T, H, D] to the same."""
        if self.new == 1:
            grouped = q.reshape(len(self.mask), -1, q.shape[-1])  # (B * K, H / K, D)
            return attend_written_out(
                grouped, self.keys[layer], self.values[layer], self.mask
            ).view_as(q)
        mask = mask_of_groups(self.mask, self.kv_heads, q.shape[1], q.dtype)
        grouped = by_group(q, len(self.mask), self.kv_heads)
        out = attend_written_out(grouped, self.keys[layer], self.values[layer], mask)
        return by_token(out, len(self.mask), self.new)


def by_group(q, rows: int, kv_heads: int):
    """Queries [B * T, H, D] that share a key/value head as rows of a matrix: [B * K, H / K * T, D].

    The rows are (head of the group, token).
    """
    H, D = q.shape[1:]
    parts = q.view(rows, -1, kv_heads, H // kv_heads, D)  # (B, T, K, H / K, D)
    return parts.permute(0, 2, 3, 1, 4).reshape(rows * kv_heads, -1, D)


def by_token(out, rows: int, width: int):
    """The way back: [B * K, H / K * T, D] to [B * T, H, D]; width is T."""
    kv_heads = len(out) // rows
    D = out.shape[-1]
    parts = out.view(rows, kv_heads, -1, width, D)  # (B, K, H / K, T, D)
    return parts.permute(0, 3, 1, 2, 4).reshape(rows * width, -1, D)


def mask_of_groups(seen, kv_heads: int, heads: int, dtype):
    """What is added to the scores of `by_group`'s rows: 0 where bool seen [B, T, S], else -inf."""
    B, T, S = seen.shape
    mask = torch.zeros(B, 1, 1, T, S, device=seen.device, dtype=dtype)
    mask = mask.masked_fill(~seen[:, None, None], float("-inf"))
    return mask.expand(-1, kv_heads, heads // kv_heads, -1, -1).reshape(B * kv_heads, -1, S)


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

"""The decoder-only transformer of Qwen2, Qwen3 and Llama 3, and its KV cache. `checkpoint.py` reads and writes its weights.

Four things differ between the three: where attention has biases, whether queries and keys are normalised, how wide a
head is, and whether the rotary frequencies are stretched for a longer context.

Shapes: B rows, T tokens of this call, S positions in the cache, C hidden size, H query heads, K key/value heads,
D head size, F feed-forward size, V vocabulary. Modules carry the names of the checkpoint's tensors, so that loading is
a comparison of two lists of names.

Left out on purpose: dropout, sliding windows, mixtures of experts, quantisation, tensor parallelism.
"""
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint as recompute_in_backward

import packed

LOGITS_BYTES = 256 * 10 ** 6  # the largest fp32 tensor [positions, V] that the trainer makes: 421 positions of Qwen's vocabulary


@dataclass(frozen=True)
class RopeScaling:
    """Llama 3.1's rotary frequencies ("llama3"), stretched from a shorter context that the model was first trained at."""
    factor: float  # slow frequencies are divided by it
    low_freq_factor: float  # slow: fewer turns than this within the first context
    high_freq_factor: float  # fast, left as they are: more turns than this
    original_max_position_embeddings: int  # the first context, tokens


@dataclass(frozen=True)
class ModelConfig:
    """The fields of a `config.json` that change what is computed."""
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    max_position_embeddings: int = 32768
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    tie_word_embeddings: bool = False
    model_type: str = "qwen2"  # qwen2, qwen3 or llama
    head_dim: int | None = None  # None: the heads share hidden_size
    attention_bias: bool = False  # qwen3 and llama: on q, k, v and o; Qwen2 always has one on q, k and v alone
    mlp_bias: bool = False  # llama
    rope_scaling: RopeScaling | None = None

    @property
    def head_size(self) -> int:
        return self.head_dim or self.hidden_size // self.num_attention_heads


class KVCache:
    """Keys and values of `slots` rows, room for `capacity` positions each; every row has a length of its own.

    kv [L, 2, slots, K, capacity, D] holds both, so that one write serves a layer; k and v are views of it, per layer
    [slots, K, capacity, D]. lengths: [slots] int64, positions that hold something.
    """

    def __init__(self, config: ModelConfig, slots: int, capacity: int, device, dtype):
        self.kv = torch.zeros((config.num_hidden_layers, 2, slots, config.num_key_value_heads, capacity, config.head_size),
                              device=device, dtype=dtype)
        self.k, self.v = self.kv.unbind(1)
        self.lengths = torch.zeros(slots, dtype=torch.int64, device=device)

    def fill(self, slots, source: "KVCache", row: int, length: int) -> None:
        """Copy `length` positions of one row of another cache into `slots`: a prefilled prompt, given to its group."""
        self.kv[:, :, slots, :, :length] = source.kv[:, :, row, :, :length].unsqueeze(2)
        self.lengths[slots] = length

    def move(self, source: list[int], target: list[int], length: int) -> None:
        """Copy whole rows within this cache onto others; `length` bounds what they hold."""
        for a, b in zip(source, target):  # one by one: together they would be copied aside first
            self.kv[:, :, b, :, :length].copy_(self.kv[:, :, a, :, :length])
        self.lengths[target] = self.lengths[source]


class RMSNorm(nn.Module):
    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x):
        wide = x.float()  # fp32: bf16 squares lose too much. Once: backward keeps it
        return self.weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)).to(x.dtype)


def rope_frequency(c: ModelConfig) -> torch.Tensor:
    """Radians per position of each pair of a head's dimensions: [D/2], fp32, on the CPU."""
    # In the order of transformers' operations: another one is off by an ulp, which a late position multiplies.
    frequency = 1.0 / c.rope_theta ** (torch.arange(0, c.head_size, 2, device="cpu").float() / c.head_size)
    if scaling := c.rope_scaling:  # Llama 3.1 (arXiv 2407.21783): a ramp between dividing by the factor and leaving alone
        turns = scaling.original_max_position_embeddings / (2 * math.pi / frequency)
        low, high = scaling.low_freq_factor, scaling.high_freq_factor
        keep = ((turns - low) / (high - low)).clamp(0, 1)
        frequency = (1 - keep) * frequency / scaling.factor + keep * frequency
    return frequency


def rope_angles(frequency, position, dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin [..., D] of positions [...]; sin carries the sign of rotate-half, so rotation is x*cos + swap(x)*sin.

    Computed in fp32 for the positions at hand: a table of Llama's 131,072 would take 134 MB.
    """
    angle = position[..., None] * frequency
    cos, sin = angle.cos(), angle.sin()
    return torch.cat((cos, cos), -1).to(dtype), torch.cat((-sin, sin), -1).to(dtype)


def rotate(x, cos, sin):
    """Rotary embedding (RoFormer, arXiv 2104.09864) in the half-split layout of Hugging Face; x [B, *, T, D]."""
    swapped = x.unflatten(-1, (2, -1)).flip(-2).flatten(-2)
    return x * cos + swapped * sin


class Attention(nn.Module):
    def __init__(self, c: ModelConfig):
        super().__init__()
        self.heads, self.kv_heads, self.size = c.num_attention_heads, c.num_key_value_heads, c.head_size
        qwen2, bias = c.model_type == "qwen2", c.attention_bias
        self.q_proj = nn.Linear(c.hidden_size, self.heads * self.size, bias=qwen2 or bias)
        self.k_proj = nn.Linear(c.hidden_size, self.kv_heads * self.size, bias=qwen2 or bias)
        self.v_proj = nn.Linear(c.hidden_size, self.kv_heads * self.size, bias=qwen2 or bias)
        self.o_proj = nn.Linear(self.heads * self.size, c.hidden_size, bias=bias and not qwen2)
        self.normalised = c.model_type == "qwen3"
        if self.normalised:  # one norm for all query heads, one for all key heads
            self.q_norm, self.k_norm = (RMSNorm(self.size, c.rms_norm_eps) for _ in range(2))

    def forward(self, x, rope, store=None, mask=None, rows=None):
        """x [B, T, C] to the same. `store(k, v)` puts new keys and values into a cache and returns all of it.

        `rows`: the sequences that stand one after another in x, if it is packed; then B is 1.
        """
        B, T, _ = x.shape
        q = self.q_proj(x).view(B, T, self.heads, self.size).transpose(1, 2)  # (B, H, T, D)
        k = self.k_proj(x).view(B, T, self.kv_heads, self.size).transpose(1, 2)  # (B, K, T, D)
        v = self.v_proj(x).view(B, T, self.kv_heads, self.size).transpose(1, 2)
        if self.normalised:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = rotate(q, *rope), rotate(k, *rope)
        if store is not None:
            k, v = store(k, v)  # (B, K, S, D)
        if rows is not None:
            out = packed.attend(q, k, v, rows)
        elif mask is None:  # nothing came before: plain causal attention
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.heads != self.kv_heads)
        else:
            out = attend_cached(q, k, v, mask)
        return self.o_proj(out.transpose(1, 2).reshape(B, T, -1))


def attend_cached(q, k, v, mask):
    """Attention of a few new tokens to a cache: q [B, H, T, D], k and v [B, K, S, D], additive mask [B, 1, T, S].

    The heads that share a key/value head stand in one matrix with the new tokens, so K and V are read once and never
    expanded. Written out because it measured twice as fast as scaled_dot_product_attention for one token on a CPU.
    """
    B, H, T, D = q.shape
    K = k.shape[1]
    if T > 1:  # the rows of the matrix are (head in group, token): repeat the tokens' mask for each head
        mask = mask.repeat(1, 1, H // K, 1)
    scores = torch.matmul(q.reshape(B, K, -1, D), k.transpose(-1, -2)) * D ** -0.5 + mask  # (B, K, H/K*T, S)
    return torch.matmul(scores.softmax(-1, dtype=torch.float32).to(v.dtype), v).view(B, H, T, D)


class MLP(nn.Module):
    def __init__(self, c: ModelConfig):
        super().__init__()
        self.gate_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=c.mlp_bias)
        self.up_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=c.mlp_bias)
        self.down_proj = nn.Linear(c.intermediate_size, c.hidden_size, bias=c.mlp_bias)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))  # SwiGLU (arXiv 2002.05202)


class Layer(nn.Module):
    def __init__(self, c: ModelConfig):
        super().__init__()
        self.self_attn, self.mlp = Attention(c), MLP(c)
        self.input_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)

    def forward(self, x, rope, store=None, mask=None, rows=None):
        x = x + self.self_attn(self.input_layernorm(x), rope, store, mask, rows)
        return x + self.mlp(self.post_attention_layernorm(x))


class Transformer(nn.Module):
    """`model(ids)` on ids [B, T] gives logits [B, T, V]."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config, self.stop_ids = config, ()
        self.recompute = False  # gradient checkpointing: of a layer only the input is kept for backward
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.frequency = rope_frequency(config)  # a plain tensor, no buffer: model.to(bf16) must not round it

    @property
    def device(self) -> torch.device:
        return self.embed_tokens.weight.device

    def forward(self, ids, cache: KVCache | None = None, new=None):
        return self.head(self.hidden(ids, cache, new))

    def head(self, hidden):
        """Hidden states [..., C] to logits [..., V], in the compute type."""
        weight = self.embed_tokens.weight if self.config.tie_word_embeddings else self.lm_head.weight
        return F.linear(hidden, weight)

    def hidden(self, ids, cache: KVCache | None = None, new=None, span: int | None = None, rows=None):
        """Final hidden states [B, T, C] of ids [B, T]; ids [1, N] may be packed `rows`, which begin in an empty cache.

        With a cache, row b continues at position cache.lengths[b] of slot b (the first B slots), and its length grows by
        `new[b]` (default T): tokens beyond that are right padding, written where the next call overwrites them. `span`
        bounds the positions in use after this call, for callers that know it without asking the device.
        """
        B, T = ids.shape
        x, mask = self.embed_tokens(ids), None
        self.frequency = self.frequency.to(x.device)  # moves once
        if rows or cache is None:
            assert max(rows.lengths if rows else (T,)) <= self.config.max_position_embeddings, "longer than the context"
            position = rows.position if rows else torch.arange(T, device=x.device)
            rope = rope_angles(self.frequency, position, x.dtype)  # (T, D) each
            stores = [cache and packed_writer(cache, i, rows) for i in range(len(self.layers))]
        else:
            start = cache.lengths[:B]
            span = int(start.max()) + T if span is None else span
            assert span <= cache.k.shape[3], "longer than the cache"
            position = start[:, None] + torch.arange(T, device=ids.device)  # (B, T)
            rope = rope_angles(self.frequency, position[:, None], x.dtype)  # (B, 1, T, D) each
            if span > T:  # somebody has a past
                seen = torch.arange(span, device=ids.device) <= position[:, :, None]  # (B, T, S)
                mask = torch.zeros_like(seen, dtype=x.dtype).masked_fill_(~seen, float("-inf"))[:, None]
            stores = [cache_writer(cache, i, position, span) for i in range(len(self.layers))]
        for layer, store in zip(self.layers, stores):
            if self.recompute and cache is None and torch.is_grad_enabled():
                x = recompute_in_backward(layer, x, rope, None, None, rows, use_reentrant=False, preserve_rng_state=False)
            else:
                x = layer(x, rope, store, mask, rows)
        if cache is not None and rows:
            cache.lengths[:len(rows.lengths)] = torch.tensor(rows.lengths, device=x.device)
        elif cache is not None:
            cache.lengths[:B] += T if new is None else new
        return self.norm(x)


def cache_writer(cache: KVCache, layer: int, position, span: int):
    """A function that writes k, v [B, K, T, D] at `position` [B, T] and returns views of the first B rows, `span` long."""
    B, rows = len(position), torch.arange(len(position), device=position.device)[:, None]

    def store(k, v):
        for held, new in ((cache.k[layer], k), (cache.v[layer], v)):
            held[rows, :, position] = new.transpose(1, 2)  # indexed (B, T) first, then K, D
        return cache.k[layer, :B, :, :span], cache.v[layer, :B, :, :span]
    return store


def packed_writer(cache: KVCache, layer: int, rows: packed.Sequences):
    """A function that writes k, v [1, K, N, D] of packed rows into the first slots, and returns them: nothing came before."""
    def store(k, v):
        for held, new in ((cache.k[layer], k), (cache.v[layer], v)):
            held[rows.which, :, rows.position] = new[0].transpose(0, 1)  # indexed (N,) first, then K, D
        return k, v
    return store


def token_logprobs(model: Transformer, hidden, targets, temperature: float):
    """(log-probability with gradient, entropy without) of target ids [N] predicted by hidden states [N, C], fp32."""
    logprobs = (model.head(hidden).float() / temperature).log_softmax(-1)  # (N, V)
    picked = logprobs.gather(1, targets[:, None]).squeeze(1)
    with torch.no_grad():
        entropy = -(logprobs.exp() * logprobs).sum(-1)
    return picked, entropy


def response_logprobs(model: Transformer, prompts: list[list[int]], responses: list[list[int]], temperature: float = 1.0):
    """Log-probabilities of given responses, the trainer's side of what the sampler drew.

    prompts, responses: B lists of ids. Returns (logprobs [B, T] with gradient, entropy [B, T] without), T the longest
    response, both fp32 and 0 beyond a row's length. Rows are packed where there is a kernel for it, else padded on the
    right, which cannot reach back through causal attention. The head runs on response positions alone, on so many at a
    time that no [positions, V] tensor exceeds LOGITS_BYTES; if that takes several chunks, backward computes each anew.
    """
    starts, lengths = ([len(row) for row in rows] for rows in (prompts, responses))
    assert min(starts) and min(lengths), "an empty prompt or response has no log-probability"
    T, device = max(lengths), model.device
    whole = [p + r[:-1] for p, r in zip(prompts, responses)]  # the last response id is only ever a target
    if packed.usable(model):
        rows = packed.Sequences.of([len(ids) for ids in whole], device)
        ids, begin = [[i for ids in whole for i in ids]], rows.begin
    else:
        width = max(map(len, whole))
        rows, ids, begin = None, [ids + [0] * (width - len(ids)) for ids in whole], range(0, len(whole) * width, width)
    where = [(row, t) for row, n in enumerate(lengths) for t in range(n)]  # masks come from lengths
    # Response id t is predicted by the position before it.
    at = torch.tensor([begin[row] + starts[row] - 1 + t for row, t in where], device=device)
    hidden = model.hidden(torch.tensor(ids, device=device), rows=rows).flatten(0, 1)[at]  # (N, C)
    targets = torch.tensor([i for response in responses for i in response], device=device)  # (N,)
    row, t = torch.tensor(where, device=device).T
    size = max(1, LOGITS_BYTES // (4 * model.config.vocab_size))
    if len(hidden) <= size:
        picked, entropy = token_logprobs(model, hidden, targets, temperature)
    else:
        chunks = [recompute_in_backward(token_logprobs, model, *chunk, temperature, use_reentrant=False,
                                        preserve_rng_state=False)
                  for chunk in zip(hidden.split(size), targets.split(size))]
        picked, entropy = map(torch.cat, zip(*chunks))
    empty = torch.zeros(len(prompts), T, device=device)
    return empty.index_put((row, t), picked), empty.index_put((row, t), entropy)

"""The decoder-only transformer of Qwen2, Qwen3 and Llama 3, written once, and its KV cache.

    model, tokenizer = load("base")              # a Hugging Face folder or hub id
    logits = model(ids)                          # [B, T] to [B, T, V]
    save("mine", model, tokenizer)

There is one forward pass. Training, prefill and decoding run the same layers on a list of N tokens;
what differs is the attention that the layers are handed (engine/attention.py). So whoever changes
an activation here changes the sampler too.

Four things differ between the three families: where attention has biases, whether queries and keys
are normalised, how wide a head is, and whether the rotary frequencies are stretched for a longer
context.

Shapes: B rows, T tokens a row, N tokens of all rows together, S positions in the cache, C hidden
size, H query heads, K key/value heads, D head size, F feed-forward size, V vocabulary.

Left out on purpose: dropout, sliding windows, mixtures of experts, quantisation, tensor
parallelism.
"""

import itertools
import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint as recompute_in_backward

from config import UserError, check_values
from engine.attention import (
    AfterPrompt,
    Cached,
    Causal,
    Keeping,
    Packed,
    PackedAfterPrompt,
    has_packed_kernel,
    rows_and_places,
)
from engine.batches import LOGITS_BYTES, logits_positions, micro_batches
from engine.device import on_device, pick_dtype
from storage import folders, model_folder

CACHED_BYTES = 2**21  # fp32 logits that are worked on at a time on a CPU


@dataclass(frozen=True)
class RopeScaling:
    """Llama 3.1's rotary frequencies ("llama3"), stretched from a shorter first context."""

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
    attention_bias: bool = False  # qwen3 and llama: on q, k, v and o; Qwen2 always has q, k, v's
    mlp_bias: bool = False  # llama
    rope_scaling: RopeScaling | None = None

    @property
    def head_size(self) -> int:
        return self.head_dim or self.hidden_size // self.num_attention_heads


# ---------------------------------------------------------------- the cache


class KVCache:
    """Keys and values of `slots` rows, with room for `capacity` positions each.

    Every row has a length of its own. kv is [L, 2, slots, K, capacity, D], keys before values;
    lengths is [slots], int64, the positions that hold something.
    """

    def __init__(self, config: ModelConfig, slots: int, capacity: int, device, dtype):
        layers, D = config.num_hidden_layers, config.head_size
        self.kv_heads = config.num_key_value_heads
        self.capacity = capacity
        shape = (layers, 2, slots, self.kv_heads, capacity, D)
        self.kv = torch.zeros(shape, device=device, dtype=dtype)
        self.lengths = torch.zeros(slots, dtype=torch.int64, device=device)
        self.positions = torch.arange(capacity, device=device)
        # The same memory as one list of [slots * K * capacity, D] for each layer: a decode step
        # writes with one index. Where in it the positions of each (slot, head) begin: (slots, K).
        self.flat_keys = self.kv[:, 0].flatten(1, 3).unbind()
        self.flat_values = self.kv[:, 1].flatten(1, 3).unbind()
        pairs = torch.arange(slots * self.kv_heads, device=device)
        self.begin = pairs.view(slots, self.kv_heads) * capacity

    def layer(self, layer: int):
        """(keys, values) of one layer, [slots, K, capacity, D] each."""
        return self.kv[layer].unbind()

    def fill(self, slots, source: "KVCache", row: int, length: int) -> None:
        """Copy `length` positions of one row of another cache into `slots`.

        That is how a prefilled prompt is given to its group.
        """
        self.kv[:, :, slots, :, :length] = source.kv[:, :, row, :, :length].unsqueeze(2)
        self.lengths[slots] = length

    def move(self, source: list[int], target: list[int], length: int) -> None:
        """Copy whole rows within this cache onto others; `length` bounds what they hold."""
        for a, b in zip(source, target):  # one by one: together they would be copied aside first
            self.kv[:, :, b, :, :length].copy_(self.kv[:, :, a, :, :length])
        self.lengths[target] = self.lengths[source]


# ---------------------------------------------------------------- the layers


class RMSNorm(nn.Module):
    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x, x.shape[-1:], self.weight, self.eps)  # squares and sum in fp32


def rope_frequency(c: ModelConfig) -> torch.Tensor:
    """Radians per position of each pair of a head's dimensions: [D/2], fp32, on the CPU."""
    # In the order of transformers' operations: another one is off by an ulp, which a late position
    # multiplies.
    pair = torch.arange(0, c.head_size, 2, device="cpu").float() / c.head_size
    frequency = 1.0 / c.rope_theta**pair
    scaling = c.rope_scaling
    if scaling is None:
        return frequency
    # Llama 3.1 (arXiv 2407.21783): a ramp between dividing by the factor and leaving alone.
    turns = scaling.original_max_position_embeddings / (2 * math.pi / frequency)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    keep = ((turns - low) / (high - low)).clamp(0, 1)
    return (1 - keep) * frequency / scaling.factor + keep * frequency


def rope_angles(frequency, position, dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin [..., D] of positions [...], computed in fp32.

    sin carries the sign of rotate-half, so that a rotation is x * cos + swap(x) * sin.
    """
    angle = position[..., None] * frequency
    cos, sin = angle.cos(), angle.sin()
    return torch.cat((cos, cos), -1).to(dtype), torch.cat((-sin, sin), -1).to(dtype)


def rotate(x, cos, sin):
    """Rotary embedding of heads x [N, heads, D]; cos and sin [N, 1, D].

    RoFormer (arXiv 2104.09864) in the half-split layout of Hugging Face.
    """
    swapped = x.roll(x.shape[-1] // 2, -1)  # the two halves change places
    return torch.addcmul(x * cos, swapped, sin)


class Attention(nn.Module):
    """Queries, keys and values of each token; what they do with each other is handed in."""

    def __init__(self, c: ModelConfig, layer: int):
        super().__init__()
        self.layer = layer
        self.heads = c.num_attention_heads
        self.kv_heads = c.num_key_value_heads
        self.size = c.head_size
        qwen2 = c.model_type == "qwen2"
        wide = (self.heads + 2 * self.kv_heads) * self.size
        self.qkv_proj = nn.Linear(c.hidden_size, wide, bias=qwen2 or c.attention_bias)
        gathered = self.heads * self.size
        self.o_proj = nn.Linear(gathered, c.hidden_size, bias=c.attention_bias and not qwen2)
        self.normalised = c.model_type == "qwen3"
        if self.normalised:  # one norm for all query heads, one for all key heads
            self.q_norm = RMSNorm(self.size, c.rms_norm_eps)
            self.k_norm = RMSNorm(self.size, c.rms_norm_eps)

    def forward(self, x, cos, sin, attention):
        """x [N, C] to the same."""
        H, K = self.heads, self.kv_heads
        qkv = self.qkv_proj(x).view(-1, H + 2 * K, self.size)  # (N, H + 2K, D)
        qk, v = qkv.split((H + K, K), dim=1)
        if self.normalised:
            q, k = qk.split((H, K), dim=1)
            qk = torch.cat((self.q_norm(q), self.k_norm(k)), dim=1)
        q, k = rotate(qk, cos, sin).split((H, K), dim=1)
        gathered = attention.attend(self.layer, q, k, v)  # (N, H, D)
        return self.o_proj(gathered.flatten(1))


class MLP(nn.Module):
    """SwiGLU (arXiv 2002.05202)."""

    def __init__(self, c: ModelConfig):
        super().__init__()
        self.gate_up_proj = nn.Linear(c.hidden_size, 2 * c.intermediate_size, bias=c.mlp_bias)
        self.down_proj = nn.Linear(c.intermediate_size, c.hidden_size, bias=c.mlp_bias)

    def forward(self, x):
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        # A saved folder says silu: with another activation only this code computes it rightly.
        return self.down_proj(F.silu(gate) * up)


class Layer(nn.Module):
    def __init__(self, c: ModelConfig, layer: int):
        super().__init__()
        self.self_attn = Attention(c, layer)
        self.mlp = MLP(c)
        self.input_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)

    def forward(self, x, cos, sin, attention):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, attention)
        return x + self.mlp(self.post_attention_layernorm(x))


class Transformer(nn.Module):
    """`model(ids)` on ids [B, T] gives logits [B, T, V]."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.stop_ids = ()
        self.source = None  # of a loaded model: its config, and what its folder says of it
        self.recompute = False  # gradient checkpointing: of a layer only the input is kept
        self.logits_bytes = None  # of the largest fp32 tensor [positions, V]; None: LOGITS_BYTES
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, i) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.rope_table = None  # a plain tensor, no buffer: model.to(bf16) must not round it

    @property
    def device(self) -> torch.device:
        return self.embed_tokens.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The compute type."""
        return self.embed_tokens.weight.dtype

    @property
    def packs(self) -> bool:
        """Whether rows need no padding here, because there is a kernel for rows of any lengths."""
        return has_packed_kernel(self.device, self.dtype, self.config.head_size)

    def cache(self, slots: int, capacity: int) -> KVCache:
        """An empty cache for this model."""
        return KVCache(self.config, slots, capacity, self.device, self.dtype)

    def forward(self, ids, cache: KVCache | None = None):
        """Logits [B, T, V] of ids [B, T].

        With a cache, row b goes on at position cache.lengths[b] of slot b, which grows by T.
        """
        B, T = ids.shape
        if cache is None:
            attention = Causal(B, T, ids.device)
        else:
            attention = Cached(cache, [(B, int(cache.lengths[:B].max()) + T)], new=T)
        hidden = self.hidden(ids.flatten(), attention)
        if cache is not None:
            cache.lengths[:B] += T
        return self.head(hidden).unflatten(0, (B, T))

    @property
    def head_weight(self):
        """The matrix [V, C] of the head: the embedding's own where they are tied."""
        tied = self.config.tie_word_embeddings
        return self.embed_tokens.weight if tied else self.lm_head.weight

    def head(self, hidden, weight=None):
        """Hidden states [..., C] to logits [..., V], in the compute type.

        weight: stands in for the head's own.
        """
        return F.linear(hidden, self.head_weight if weight is None else weight)

    def hidden(self, ids, attention):
        """Final hidden states [N, C] of N tokens; `attention` says which of them see which."""
        assert attention.longest <= self.config.max_position_embeddings, "longer than the context"
        cos, sin = self.rope(attention.position, attention.longest)
        x = self.embed_tokens(ids)
        for layer in self.layers:
            if self.recompute and torch.is_grad_enabled():
                x = recompute_in_backward(
                    layer, x, cos, sin, attention, use_reentrant=False, preserve_rng_state=False
                )
            else:
                x = layer(x, cos, sin, attention)
        return self.norm(x)

    def rope(self, position, longest: int) -> tuple[torch.Tensor, torch.Tensor]:
        """cos and sin [N, 1, D] of positions [N] below `longest`, from a table that grows."""
        self.make_rope_table(longest)
        return self.rope_table[position].unbind(1)

    def make_rope_table(self, longest: int) -> None:
        """A table [positions, 2, 1, D] of cos and sin for at least `longest` positions.

        Its length is a power of two: one for the whole of Llama's context would take 134 MB.
        """
        table = self.rope_table
        if table is not None and table.device == self.device and table.dtype == self.dtype:
            if longest <= len(table):
                return
        size = 1 << (longest - 1).bit_length()
        with torch.inference_mode(False):  # or it could not be used in training
            position = torch.arange(size, device=self.device)
            frequency = rope_frequency(self.config).to(self.device)
            angles = rope_angles(frequency, position, self.dtype)
            self.rope_table = torch.stack(angles, 1)[:, :, None]


# ---------------------------------------------------------------- log-probabilities


class PickedLogprobs(torch.autograd.Function):
    """log softmax(logits / temperature) at the target ids; logits [N, V].

    The second result is the entropy H of each row's distribution. The gradients are written out,
    because autograd's way keeps several fp32 tensors [N, V].
    """

    @staticmethod
    def forward(ctx, logits, targets, temperature: float):
        ctx.temperature = temperature
        ctx.set_materialize_grads(False)  # None is the gradient of what the loss does not read
        picked, entropy = picked_logprobs(logits, targets, temperature)
        ctx.save_for_backward(logits, targets, entropy)
        return picked, entropy

    @staticmethod
    def backward(ctx, of_picked, of_entropy):
        logits, targets, entropy = ctx.saved_tensors
        found = logits_gradient(logits, targets, ctx.temperature, of_picked, entropy, of_entropy)
        return found, None, None


class LogprobsInChunks(torch.autograd.Function):
    """The same from hidden states [N, C], `size` of them at a time, so that no logits are kept.

    Backward computes a chunk's logits anew. weight: the head's; its gradients from the chunks add
    up in fp32, because in bf16 a sum of twenty would lose what each of the last ones adds.
    """

    @staticmethod
    def forward(ctx, hidden, weight, targets, temperature: float, model, size: int):
        ctx.set_materialize_grads(False)
        ctx.settings = (temperature, model, size)
        chunks = []
        for states, wanted in zip(hidden.split(size), targets.split(size)):
            chunks.append(picked_logprobs(model.head(states, weight), wanted, temperature))
        picked, entropy = (torch.cat(parts) for parts in zip(*chunks))
        ctx.save_for_backward(hidden, weight, targets, entropy)
        return picked, entropy

    @staticmethod
    def backward(ctx, of_picked, of_entropy):
        hidden, weight, targets, entropy = ctx.saved_tensors
        temperature, model, size = ctx.settings
        of_hidden = []
        of_weight = torch.zeros_like(weight, dtype=torch.promote_types(weight.dtype, torch.float32))
        for begin in range(0, len(hidden), size):
            chunk = slice(begin, begin + size)
            states = hidden[chunk].detach().requires_grad_()
            head = weight.detach().requires_grad_()
            with torch.enable_grad():
                logits = model.head(states, head)
            of_logits = logits_gradient(
                logits.detach(),
                targets[chunk],
                temperature,
                None if of_picked is None else of_picked[chunk],
                entropy[chunk],
                None if of_entropy is None else of_entropy[chunk],
            )
            of_states, of_head = torch.autograd.grad(logits, (states, head), of_logits)
            of_hidden.append(of_states)
            of_weight += of_head
            del of_head, of_logits, logits  # before the next chunk's
        return torch.cat(of_hidden), of_weight.to(weight.dtype), None, None, None, None


def picked_logprobs(logits, targets, temperature: float):
    """(log-probabilities of the targets, entropies) [N], fp32, of logits [N, V].

    On a CPU a few rows at a time are in fp32.
    """
    picked = []
    entropy = []
    for rows, wanted in in_parts(logits, targets):
        logprobs = tempered(rows, temperature).log_softmax(1)
        picked.append(logprobs.gather(1, wanted[:, None])[:, 0])
        entropy.append(-logprobs.exp().mul_(logprobs).sum(1))
    return torch.cat(picked), torch.cat(entropy)


def logits_gradient(logits, targets, temperature: float, of_picked, entropy, of_entropy):
    """The gradient of logits [N, V] from those of the log-probabilities and the entropies [N].

    Of a log-probability it is one-hot(target) - p, of the entropy H it is -p (log p + H), with
    p = softmax, both over the temperature. None is the gradient of what the loss does not read.
    """
    if of_picked is None:
        of_picked = torch.zeros_like(entropy)
    gradient = (of_picked / temperature)[:, None]  # (N, 1)
    found = torch.empty_like(logits)
    done = 0
    for rows, wanted in in_parts(logits, targets):
        part = slice(done, done + len(rows))
        if of_entropy is None:
            of_rows = tempered(rows, temperature).softmax(1)
            of_rows.mul_(-gradient[part])
        else:
            slope = (of_entropy[part] / temperature)[:, None]  # (N, 1)
            logprobs = tempered(rows, temperature).log_softmax(1)
            # In place: no third fp32 tensor [N, V], which the memory plan does not count.
            of_rows = logprobs + entropy[part][:, None]
            of_rows.mul_(-slope)
            of_rows.sub_(gradient[part])
            of_rows.mul_(logprobs.exp_())
        of_rows.scatter_add_(1, wanted[:, None], gradient[part])
        found[part] = of_rows
        done += len(rows)
    return found


def tempered(logits, temperature: float):
    """Logits over the temperature, in fp32."""
    if temperature == 1.0:
        return logits.float()
    # A tensor of one number makes the quotient fp32 in one pass; a plain number would not.
    divisor = torch.full((1,), temperature, dtype=torch.float32, device=logits.device)
    return (logits / divisor).float()


def in_parts(logits, targets):
    """Pairs of some rows of logits [N, V] and their targets: on a CPU what its cache holds."""
    rows = len(logits)
    if logits.device.type == "cpu":
        rows = max(1, CACHED_BYTES // (4 * logits.shape[1]))
    return zip(logits.split(rows), targets.split(rows))


def token_logprobs(model: Transformer, hidden, targets, temperature: float):
    """(log-probability, entropy) of target ids [N], fp32, both with gradient.

    hidden: [N, C], the states that predict them, any number: the memory is bounded.
    """
    size = logits_positions(model.config.vocab_size, model.logits_bytes or LOGITS_BYTES)
    if len(hidden) <= size:
        return PickedLogprobs.apply(model.head(hidden), targets, temperature)
    return LogprobsInChunks.apply(hidden, model.head_weight, targets, temperature, model, size)


def response_logprobs(
    model: Transformer,
    prompts: list[list[int]],
    responses: list[list[int]],
    temperature: float = 1.0,
):
    """Log-probabilities of given responses, the trainer's side of what the sampler drew.

    prompts, responses: B lists of ids. Returns (logprobs [B, T], entropy [B, T]), T the longest
    response, both with gradient, in fp32 and 0 beyond a row's length. Rows are packed where there
    is a kernel for it, else padded on the right, which cannot reach back through causal
    attention. The head runs on response positions alone, on so many at a time that no
    [positions, V] tensor exceeds `model.logits_bytes`; if that takes several chunks, backward
    computes each anew.
    """
    assert all(prompts) and all(responses), "an empty prompt or response has no log-probability"
    # The last response id is only ever a target.
    rows = [p + r[:-1] for p, r in zip(prompts, responses)]
    ids, begin = laid_out(rows, model)
    hidden = model.hidden(ids, causal(rows, model))
    # A response's first id is predicted by the last one of its prompt.
    first = [start + len(prompt) - 1 for start, prompt in zip(begin, prompts)]
    return logprobs_at(model, predicting(hidden, first, responses), responses, temperature)


class SharedPrompts:
    """The prompts of an optimizer step, computed once, from which its responses go on.

        shared = SharedPrompts(model, prompts, token_budget)
        logprobs, entropy = shared.response_logprobs(prompts, responses)   # of each micro-batch
        ... .backward()                                                    # of its loss
        shared.backward()                                                  # once, at the end

    The numbers and the gradients are those of `response_logprobs`, which computes a prompt again
    for each of its responses. As in the sampler, all of a prompt but its last id is computed here:
    that id is the first that a response's row computes. The loss's gradients of the prompts' keys
    and values add up in fp32 from micro-batch to micro-batch, then go through the prompts in one
    backward pass.

    held: prompt tokens whose activations are kept for `backward`: all of them, if they fit into a
    quarter of the token budget, or none; then `backward` computes the prompts again.
    """

    def __init__(self, model: Transformer, prompts: list[list[int]], token_budget: int):
        self.model = model
        rows = [*dict.fromkeys(tuple(prompt[:-1]) for prompt in prompts if len(prompt) > 1)]
        lengths = [len(row) for row in rows]
        self.tokens = sum(lengths)
        self.held = self.tokens if self.tokens <= token_budget // 4 else 0
        self.begin = {(): 0}  # of each row, its first token among all that are computed
        self.chunks = []  # of each, keys and values in turns, layer by layer
        computed = 0
        for chunk in micro_batches(lengths, token_budget, model.packs):
            part = [[*rows[i]] for i in chunk]
            ids, begin = laid_out(part, model)
            for i, first in zip(chunk, begin):
                self.begin[rows[i]] = computed + first
            computed += len(ids)
            if self.held or not torch.is_grad_enabled():
                tensors = keys_and_values(model, ids, causal(part, model))
            else:
                tensors = recompute_in_backward(
                    *(keys_and_values, model, ids, causal(part, model)),
                    use_reentrant=False,
                    preserve_rng_state=False,
                )
            self.chunks.append(tensors)
        self.kept = [self.leaf(tensors) for tensors in zip(*self.chunks)]
        if not torch.is_grad_enabled():
            self.chunks = []  # nothing will go back
        if not rows:  # there are no prompts, or each is one id
            c = model.config
            none = model.embed_tokens.weight.new_zeros(0, c.num_key_value_heads, c.head_size)
            self.kept = [none] * (2 * c.num_hidden_layers)

    def leaf(self, tensors) -> torch.Tensor:
        """The chunks' keys or values of one layer as one tensor, at which backward stops."""
        joined = torch.cat(tensors).detach()
        if not torch.is_grad_enabled():
            return joined
        return joined.to(torch.promote_types(joined.dtype, torch.float32)).requires_grad_()

    def response_logprobs(
        self, prompts: list[list[int]], responses: list[list[int]], temperature: float = 1.0
    ):
        """What `model.response_logprobs` returns, for some of these prompts."""
        return logprobs_at(self.model, self.states(prompts, responses), responses, temperature)

    def states(self, prompts: list[list[int]], responses: list[list[int]]):
        """The hidden states [N, C] that predict the N ids of these responses, row after row."""
        model = self.model
        begin = [self.begin[tuple(prompt[:-1])] for prompt in prompts]
        before = [len(prompt) - 1 for prompt in prompts]
        rows = [prompt[-1:] + response[:-1] for prompt, response in zip(prompts, responses)]
        lengths = [len(row) for row in rows]
        if model.packs:
            attention = PackedAfterPrompt(self.kept, begin, before, lengths)
        else:
            heads = model.config.num_attention_heads
            attention = AfterPrompt(self.kept, begin, before, max(lengths), heads, model.dtype)
        ids, first = laid_out(rows, model)
        return predicting(model.hidden(ids, attention), first, responses)

    def backward(self) -> None:
        """Send the gradients of the prompts' keys and values through the prompts."""
        if not self.chunks or self.kept[0].grad is None:
            return
        sizes = [len(tensors[0]) for tensors in self.chunks]
        gradients = zip(*(kept.grad.split(sizes) for kept in self.kept))
        for tensors, of_chunk in zip(self.chunks, gradients):
            of_chunk = [gradient.to(tensors[0].dtype) for gradient in of_chunk]
            torch.autograd.backward(tensors, of_chunk)


def keys_and_values(model: Transformer, ids, attention) -> tuple:
    """Keys and values [N, K, D] of N tokens in turns, layer by layer."""
    keeping = Keeping(attention)
    model.hidden(ids, keeping)
    return tuple(keeping.kept)


def laid_out(rows: list[list[int]], model: Transformer):
    """(ids [N], the first token of each row) of rows of ids, packed or padded."""
    lengths = [len(row) for row in rows]
    if model.packs:
        begin = [0, *itertools.accumulate(lengths)][:-1]
        ids = [*itertools.chain(*rows)]
    else:
        width = max(lengths)
        begin = [*range(0, len(rows) * width, width)]
        ids = [i for row in rows for i in row + [0] * (width - len(row))]
    return on_device(ids, model.device), begin


def causal(rows: list[list[int]], model: Transformer):
    """The attention within rows that begin here, laid out as `laid_out` does."""
    lengths = [len(row) for row in rows]
    if model.packs:
        return Packed(lengths, model.device)
    return Causal(len(rows), max(lengths), model.device)


def predicting(hidden, first, responses: list[list[int]]):
    """Of hidden states [.., C] those [N, C] that predict the N ids of responses, row after row.

    first: of each row, the token that predicts the first id of its response; those that predict
    the others come after it.
    """
    lengths = [len(response) for response in responses]
    row, t = rows_and_places(lengths, hidden.device)
    return hidden[on_device(first, hidden.device)[row] + t]


def logprobs_at(model: Transformer, states, responses: list[list[int]], temperature: float):
    """(logprobs [B, T], entropy [B, T]) of response ids from the states [N, C] before them."""
    targets = on_device([*itertools.chain(*responses)], model.device)
    picked, entropy = token_logprobs(model, states, targets, temperature)
    return in_rows(picked, responses), in_rows(entropy, responses)


def in_rows(values, responses: list[list[int]]):
    """A number for each response id, [N], as rows [B, T]; 0 beyond a row's length."""
    lengths = [len(response) for response in responses]
    row, t = rows_and_places(lengths, values.device)  # masks come from lengths
    empty = torch.zeros(len(responses), max(lengths), device=values.device)
    return empty.index_put((row, t), values)


@dataclass(frozen=True)
class Look:
    """What a model makes of each of the T ids of a response; fp32, on the CPU."""

    logprobs: torch.Tensor  # [T]
    entropy: torch.Tensor  # [T], nats
    likeliest: torch.Tensor  # [T, k], the ids that it holds for likeliest, the first one first
    their_logprobs: torch.Tensor  # [T, k]


@torch.no_grad()
def look(
    model: Transformer,
    prompts: list[list[int]],
    responses: list[list[int]],
    temperature: float,
    token_budget: int,
    k: int = 5,
) -> list[Look]:
    """A forward pass for people to read: a Look at each of these responses."""
    rows = [prompt + response[:-1] for prompt, response in zip(prompts, responses)]
    looks = [None] * len(rows)
    for batch in micro_batches([len(row) for row in rows], token_budget, model.packs):
        part = [rows[i] for i in batch]
        ids, begin = laid_out(part, model)
        hidden = model.hidden(ids, causal(part, model))
        for i, start in zip(batch, begin):
            first = start + len(prompts[i]) - 1  # predicts the response's first id
            states = hidden[first : first + len(responses[i])]
            targets = torch.tensor(responses[i], device=model.device)
            looks[i] = look_at(model, states, targets, temperature, k)
    return looks


def look_at(model: Transformer, states, targets, temperature: float, k: int) -> Look:
    """The Look at target ids [T] from the states [T, C] that predict them."""
    size = logits_positions(model.config.vocab_size, LOGITS_BYTES)
    parts = []
    for some, wanted in zip(states.split(size), targets.split(size)):
        logprobs = tempered(model.head(some), temperature).log_softmax(1)
        picked = logprobs.gather(1, wanted[:, None])[:, 0]
        entropy = -(logprobs.exp() * logprobs).sum(1)
        their_logprobs, likeliest = logprobs.topk(min(k, logprobs.shape[1]), dim=1)
        parts.append((picked, entropy, likeliest, their_logprobs))
    return Look(*(torch.cat(tensors).cpu() for tensors in zip(*parts)))


# ---------------------------------------------------------------- Hugging Face folders

# Products that read the same input are one matrix here: the checkpoint's matrices stand in it one
# below the other, in this order. All other tensors have the checkpoint's names, after `model.`.
FUSED = {
    "self_attn.qkv_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "mlp.gate_up_proj": ("mlp.gate_proj", "mlp.up_proj"),
}


def checkpoint_layout(model: Transformer) -> dict[str, tuple[str, slice]]:
    """Where each tensor of a Hugging Face checkpoint stands: {its name: (our parameter, rows)}."""
    c = model.config
    queries = c.num_attention_heads * c.head_size
    keys = c.num_key_value_heads * c.head_size
    sizes = {
        "self_attn.qkv_proj": (queries, keys, keys),
        "mlp.gate_up_proj": (c.intermediate_size, c.intermediate_size),
    }
    layout = {}
    for ours, parameter in model.named_parameters():
        theirs = ours if ours.startswith("lm_head.") else "model." + ours
        fused = [name for name in FUSED if f".{name}." in ours]
        if not fused:
            layout[theirs] = (ours, slice(0, len(parameter)))
            continue
        first = 0
        for part, size in zip(FUSED[fused[0]], sizes[fused[0]]):
            layout[theirs.replace(fused[0], part)] = (ours, slice(first, first + size))
            first += size
    return layout


def checkpoint_tensors(model: Transformer, state: dict | None = None) -> dict[str, torch.Tensor]:
    """The model's tensors, or those of `state`, under the checkpoint's names; views."""
    if state is None:
        state = dict(model.named_parameters())
    layout = checkpoint_layout(model)
    return {theirs: state[ours].detach()[rows] for theirs, (ours, rows) in layout.items()}


# Of a file whose numbers are not finite.
DAMAGED = (
    "it is damaged, or a training that diverged has written it; take another model, or an earlier "
    "checkpoint"
)


def load(path: str, device="cpu", dtype=torch.float32):
    """(model, tokenizer) from a Hugging Face folder or hub id.

    dtype: a torch.dtype, or the value of --dtype: auto, fp32 or bf16.

    Strict: a missing, surplus or misshapen tensor, one with a number that is not finite, a damaged
    file or a tokenizer without a stop token is a UserError that names it.
    """
    folder = model_folder.find(str(path))
    model_folder.check_complete(folder)
    model = without_weights(folder)
    if isinstance(dtype, str):
        dtype, _ = pick_dtype(dtype, torch.device(device), model.config.hidden_size)
    state = empty_state(model, folder, device, dtype)
    layout = checkpoint_layout(model)
    shapes = {theirs: tuple(t.shape) for theirs, t in checkpoint_tensors(model).items()}
    tied = model.config.tie_word_embeddings
    for theirs, tensor in model_folder.read_tensors(folder, shapes, tied, device):
        ours, rows = layout[theirs]
        state[ours][rows] = tensor
        # After it has been turned into `dtype`: the largest numbers of fp64 are infinite in fp32.
        model_folder.check_finite(f"{folder}: tensor {theirs}", state[ours][rows], DAMAGED)
    model.load_state_dict(state, assign=True)
    tokenizer = model_folder.read_tokenizer(folder)
    model.stop_ids = model_folder.read_stop_ids(folder, tokenizer, model.config.vocab_size)
    model.source = (model.config, model_folder.read_source(folder))
    return model, tokenizer


def without_weights(folder) -> Transformer:
    """The model that a folder's config.json describes, on torch's device without memory."""
    config = read_config(folder)
    try:
        with torch.device("meta"):
            return Transformer(config)
    except (RuntimeError, TypeError):  # a product of sizes, or one of them, is no int64
        raise UserError(f"{folder}/config.json: its sizes are too large for any machine") from None


def empty_state(model: Transformer, folder, device, dtype) -> dict[str, torch.Tensor]:
    """Room for a model's parameters, by name; a UserError if there is not enough."""
    state = {}
    try:
        for name, parameter in model.named_parameters():
            state[name] = torch.empty(parameter.shape, device=device, dtype=dtype)
    except RuntimeError:  # torch's for a GPU is one too
        gb = sum(parameter.numel() for parameter in model.parameters()) * dtype.itemsize / 1e9
        raise UserError(
            f"{folder}: the weights of this model take {gb:.1f} GB, and there is not so much "
            f"memory ({device}): take a smaller one, or mend the sizes in its config.json"
        ) from None
    return state


def read_config(folder) -> ModelConfig:
    """The config.json of a folder; a UserError if it asks for what is not computed here."""
    where = f"{folder}/config.json"
    fields = model_folder.read_config(folder)
    scaling = fields["rope_scaling"]
    try:
        if scaling is not None:
            fields["rope_scaling"] = RopeScaling(**check_values(scaling, RopeScaling, where))
        known = {name: fields[name] for name in ModelConfig.__dataclass_fields__ if name in fields}
        config = ModelConfig(**check_values(known, ModelConfig, where))
    except TypeError as error:  # a field is missing
        raise UserError(f"{where}: {error}") from None
    scaling = config.rope_scaling
    if scaling is not None:
        ramp = scaling.high_freq_factor - scaling.low_freq_factor
        numbers = asdict(scaling).values()
        if not all(map(math.isfinite, numbers)) or min(numbers) <= 0 or ramp <= 0:
            raise UserError(f"{where}: {scaling} has no meaning")
    sizes = [v for v in (*vars(config).values(), config.head_size) if type(v) in (int, float)]
    if min(sizes) <= 0:
        raise UserError(f"{where}: a size is not above 0")
    if not all(map(math.isfinite, sizes)):  # JSON has no NaN, but Python reads one
        raise UserError(f"{where}: a number is not finite")
    if config.num_attention_heads % config.num_key_value_heads or config.head_size % 2:
        raise UserError(
            f"{where}: num_attention_heads is no multiple of num_key_value_heads, "
            "or a head's size is odd"
        )
    return config


def save(path, model: Transformer, tokenizer, state: dict | None = None) -> None:
    """Write a Hugging Face folder, whole or not at all.

    state: tensors by our parameters' names that stand in for the model's own.
    """
    with folders.new_folder(path) as draft:
        write_files(draft, model, tokenizer, state)


def write_files(folder, model: Transformer, tokenizer, state: dict | None = None) -> None:
    """The files of a Hugging Face folder, into a folder that is there."""
    tensors = checkpoint_tensors(model, state)
    fields = asdict(model.config) | {"head_dim": model.config.head_size}
    source = None
    if model.source and model.source[0] == model.config:  # else its shape has been changed since
        source = model.source[1]
    model_folder.write(folder, fields, model.stop_ids, tensors, tokenizer, source)

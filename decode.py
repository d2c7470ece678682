"""The decode step: every slot's pending id in, the next id of every slot out, in as few operations as possible.

`model.py` computes the same with a cache and is what the tests compare this with. Three things are different here, each
measured (docs/speed.md). The matrices that read the same input (q, k and v; gate and up) lie one below the other in
memory, so that one product serves them; they stay the model's own parameters, which an optimizer updates in place. What
depends on positions alone is computed once a step. And everything is written into buffers that stay where they are, so
that on a GPU the step is captured once for each (rows, span) as a CUDA graph and replayed without Python.

The host does not look at each token: rows stop on the device, and a row that has stopped is frozen until somebody looks.

Shapes: B rows, S positions of the cache that are read, C hidden size, H query heads, K key/value heads, D head size,
V vocabulary.
"""
from types import SimpleNamespace

import torch
import torch.nn.functional as F

import model as lm
import packed
from draw import Sampling, draw

SPAN = 256  # a GPU's graphs come in steps of so many positions


def adjoin(*parameters) -> torch.Tensor:
    """Lay parameters of like width one below the other in one piece of memory, which is returned.

    They are what they were, with the same values. Those that lie so already are left alone.
    """
    first, step = parameters[0], [p.numel() * p.element_size() for p in parameters]
    places = [first.data_ptr() + sum(step[:i]) for i in range(len(parameters))]
    whole = first.untyped_storage().nbytes() - first.storage_offset() * first.element_size() >= sum(step)
    if [p.data_ptr() for p in parameters] == places and whole:
        shape = (sum(len(p) for p in parameters), *first.shape[1:])
        return first.detach().as_strided(shape, first.stride())
    together = torch.cat([p.detach() for p in parameters])
    for p, part in zip(parameters, together.split([len(p) for p in parameters])):
        p.data = part
    return together


def weights_of(layer: lm.Layer) -> SimpleNamespace:
    """A layer's tensors as the step reads them: norms, and (weight, bias) of four products."""
    a, f = layer.self_attn, layer.mlp

    def product(*modules):
        biases = [m.bias for m in modules]
        return adjoin(*(m.weight for m in modules)), None if biases[0] is None else adjoin(*biases)
    return SimpleNamespace(
        before=layer.input_layernorm.weight.data, qkv=product(a.q_proj, a.k_proj, a.v_proj), o=product(a.o_proj),
        qk_norm=(a.q_norm.weight.data, a.k_norm.weight.data) if a.normalised else None,
        after=layer.post_attention_layernorm.weight.data, wide=product(f.gate_proj, f.up_proj), down=product(f.down_proj))


class Decoder:
    """`slots` rows in buffers that stay where they are, from `make_room` until `release`.

    The caller (`sample.Slots`) seats rows in the first slots and lets them `advance`; beyond these nothing is alive.
    """

    def __init__(self, model: lm.Transformer, slots: int):
        self.model, self.slots, self.graphed = model, slots, model.device.type == "cuda"
        self.rows = torch.arange(slots, device=model.device)
        self.pending = torch.zeros(slots, dtype=torch.int64, device=model.device)  # the id that a slot decodes next
        self.count, self.limit = torch.zeros_like(self.pending), torch.zeros_like(self.pending)  # ids drawn, and at most
        self.alive = torch.zeros(slots, dtype=torch.bool, device=model.device)
        self.aside = torch.cuda.Stream(model.device) if self.graphed else None  # where graphs are captured
        self.release()

    def release(self) -> None:
        """Give the memory back; the next `make_room` takes it again, and graphs are captured anew."""
        self.graphs, self.pool, self.cache, self.flat, self.capacity, self.new_tokens = {}, None, None, None, 0, 0

    def make_room(self, capacity: int, new_tokens: int) -> "Decoder":
        """Room for rows of at most `capacity` positions, `new_tokens` of them drawn, and the weights as they lie now."""
        m, c = self.model, self.model.config
        if capacity > self.capacity or new_tokens > self.new_tokens:
            capacity, new_tokens = max(capacity, self.capacity), max(new_tokens, self.new_tokens)
            self.release()  # before its successor is made
            self.capacity, self.new_tokens = capacity, new_tokens
            self.cache = lm.KVCache(c, self.slots, self.capacity, m.device, m.embed_tokens.weight.dtype)
            shape = (self.slots, self.new_tokens + 1)  # a frozen row writes where its next id would stand
            self.ids = torch.zeros(shape, dtype=torch.int64, device=m.device)
            self.logprobs, self.uniform = (torch.zeros(shape, device=m.device) for _ in range(2))
            self.positions = torch.arange(self.capacity, device=m.device)
            m.frequency = m.frequency.to(m.device)
            self.rope = torch.stack(lm.rope_angles(m.frequency, self.positions, m.embed_tokens.weight.dtype), 1)[:, :, None]
            # Of a layer's flat cache [2 * slots * K * capacity, D]: where each slot's 2K keys and values begin.
            heads = torch.arange(c.num_key_value_heads, device=m.device)
            begin = (self.rows[:, None, None] + self.slots * torch.arange(2, device=m.device)[:, None]) * len(heads) + heads
            self.begin = begin.flatten(1) * self.capacity  # (slots, 2K)
            self.flat = [kv.view(-1, c.head_size) for kv in self.cache.kv]
            self.is_stop = torch.zeros(c.vocab_size, dtype=torch.bool, device=m.device)
            for held in (self.pending, self.count, self.limit, self.alive):
                held.zero_()  # what they counted is gone
        self.weights = [weights_of(layer) for layer in m.layers]
        where = [w.data_ptr() for w in m.parameters()]
        if self.graphs and where != self.where:
            self.graphs, self.pool = {}, None  # they read the old weights
        self.where = where
        self.is_stop.zero_()
        self.is_stop[list(m.stop_ids)] = True
        return self

    def logits(self, spans: list[tuple[int, int]]):
        """Decode the pending ids of the first rows, each at its row's length: logits [B, V].

        spans: (rows, positions) each: so many rows, from the last one's on, of whose cache so many positions are read.
        """
        counts = [n for n, _ in spans]
        rows, m, c = sum(counts), self.model, self.model.config
        lengths = self.cache.lengths[:rows]
        H, K, D = c.num_attention_heads, c.num_key_value_heads, c.head_size
        x = F.embedding(self.pending[:rows], m.embed_tokens.weight)  # (B, C)
        cos, sin = self.rope[lengths].unbind(1)  # (B, 1, D) each
        place, eps = self.begin[:rows] + lengths[:, None], m.norm.eps
        for flat, w, *pasts in zip(self.flat, self.weights, *self.pasts(spans)):
            qkv = F.linear(norm(x, w.before, eps), *w.qkv).view(rows, H + 2 * K, D)
            if w.qk_norm:
                qkv[:, :H], qkv[:, H:H + K] = norm(qkv[:, :H], w.qk_norm[0], eps), norm(qkv[:, H:H + K], w.qk_norm[1], eps)
            swapped = qkv.roll(D // 2, -1)[:, :H + K]
            qkv[:, :H + K].mul_(cos).addcmul_(swapped, sin)
            flat.index_put_((place,), qkv[:, H:])
            seen = [attend(q, *past) for q, past in zip(qkv[:, :H].split(counts), pasts)]
            x += F.linear(seen[0] if len(seen) == 1 else torch.cat(seen), *w.o)
            gate, up = F.linear(norm(x, w.after, eps), *w.wide).chunk(2, -1)
            x += F.linear(F.silu(gate).mul_(up), *w.down)
        return m.head(norm(x, m.norm.weight, eps))

    def pasts(self, spans: list[tuple[int, int]]):
        """For each span, for each layer, what `attend` reads: (k, v [B, K, S, D], where each row's past lies)."""
        begin, K = 0, self.cache.k.shape[2]
        for rows, span in spans:
            at, begin = slice(begin, begin + rows), begin + rows
            lengths = self.cache.lengths[at]
            if self.graphed and packed.usable(self.model):
                every = torch.arange(rows * K + 1, device=lengths.device, dtype=torch.int32)
                where = every, every * self.capacity, (lengths + 1).repeat_interleave(K, output_size=rows * K).int()
            else:  # an additive mask [B * K, 1, S]
                mask = torch.where(self.positions[:span] > lengths[:, None], float("-inf"), 0.0).to(self.cache.k.dtype)
                where = mask[:, None, None].expand(-1, K, -1, -1).flatten(0, 1)
            yield [(k, v, where) for k, v in zip(*self.cache.kv[:, :, at, :, :span].unbind(1))]

    def step(self, spans: list[tuple[int, int]], sampling: Sampling) -> None:
        """Draw one id for each of the first rows; those that are not alive stay as they are."""
        rows = sum(n for n, _ in spans)
        count, alive = self.count[:rows], self.alive[:rows]
        at = count[:, None]
        ids, logprobs = draw(self.logits(spans), self.uniform[:rows].gather(1, at).squeeze(1), sampling)
        self.ids[:rows].scatter_(1, at, ids[:, None])
        self.logprobs[:rows].scatter_(1, at, logprobs[:, None])
        self.pending[:rows] = ids
        self.cache.lengths[:rows] += alive
        count += alive
        alive &= ~(self.is_stop[ids] | (count >= self.limit[:rows]))

    @torch.inference_mode()
    def advance(self, held: list[tuple[int, int]], steps: int, sampling: Sampling) -> None:
        """`steps` steps of the first rows. held: so many rows each, of which none holds more than so many positions yet."""
        if not self.graphed:
            for i in range(1, steps + 1):
                self.step([(rows, min(longest + i, self.capacity)) for rows, longest in held], sampling)
            return
        (rows, longest), = held
        rows = min(self.slots, 1 << (rows - 1).bit_length())  # the next power of two: few graphs; the rest is not alive
        span = min(self.capacity, -(-(longest + steps) // SPAN) * SPAN)
        key = rows, span, sampling
        if key not in self.graphs:
            self.graphs[key] = self.capture(*key)
        for _ in range(steps):
            self.graphs[key].replay()

    def capture(self, rows: int, span: int, sampling: Sampling) -> torch.cuda.CUDAGraph:
        """A CUDA graph of one step. Warming up and capturing leave every row as it was: nobody is alive meanwhile."""
        before = self.pending.clone(), self.alive.clone()
        self.alive.zero_()
        self.aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.aside):  # kernels choose their workspaces for this stream: a capture may not
            for _ in range(2):
                self.step([(rows, span)], sampling)
        torch.cuda.current_stream().wait_stream(self.aside)
        self.pool = self.pool or torch.cuda.graph_pool_handle()  # one pool: no two graphs run at a time
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool, stream=self.aside):
            self.step([(rows, span)], sampling)
        self.pending.copy_(before[0])
        self.alive.copy_(before[1])
        return graph


def norm(x, weight, eps: float):
    return F.rms_norm(x, x.shape[-1:], weight, eps)


def attend(q, k, v, past):
    """One new token a row attends to its cache: q [B, H, D], k and v [B, K, S, D], `past` to [B, H * D].

    The heads that share a key/value head are the rows of one matrix, so K and V are read once and never expanded.
    """
    (B, H, D), (K, S) = q.shape, k.shape[1:3]
    q = q.reshape(B * K, H // K, D)
    if torch.is_tensor(past):
        k, v = k.flatten(0, 1), v.flatten(0, 1)  # (B * K, S, D) each, views
        scores = torch.baddbmm(past, q, k.transpose(1, 2), alpha=D ** -0.5)  # (B * K, H / K, S)
        return torch.bmm(scores.softmax(-1, dtype=torch.float32).to(v.dtype), v).view(B, H * D)
    # Each (row, key/value head) is a sequence whose keys begin a capacity after the last one's; of them only those in use
    # are read. This is what torch.nn.attention.varlen.varlen_attn calls; in torch 2.11 that cannot hand on `seqused_k`.
    begin, begin_k, used = past
    k, v = (held.as_strided((int(B * K * held.stride(1) // D), 1, D), (D, D, 1)) for held in (k, v))
    return torch.ops.aten._flash_attention_forward(q, k, v, begin, begin_k, 1, S, 0.0, False, False, scale=D ** -0.5,
                                                   seqused_k=used)[0].view(B, H * D)

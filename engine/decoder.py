"""The rows that decode: their buffers, and on a GPU the graphs that replay a step without Python.

A decode step of many rows is a few hundred small operations, and a GPU is faster than Python can
name them. So everything that a step reads and writes lies in buffers that stay where they are: the
step is captured once for each (rows, span) as a CUDA graph and replayed. What a step does stands in
`sample.decode_step` and in the model; nothing here changes it.

The host does not look at each token: rows stop on the device, and a row that has stopped is frozen
until somebody looks.

Shapes: B rows, S positions of the cache that are read, K key/value heads, V vocabulary.
"""

import torch

from engine.attention import Cached

SPAN = 256  # a GPU's graphs come in steps of so many positions


class Decoder:
    """`slots` rows in buffers that stay where they are, from `make_room` until `release`.

    The caller seats rows in the first slots and lets them `advance`; beyond these nothing is alive.
    """

    def __init__(self, model, slots: int):
        self.model = model
        self.slots = slots
        self.graphed = model.device.type == "cuda"
        # The id that a slot decodes next; how many it has drawn, and how many it may.
        self.pending = torch.zeros(slots, dtype=torch.int64, device=model.device)
        self.count = torch.zeros_like(self.pending)
        self.limit = torch.zeros_like(self.pending)
        self.alive = torch.zeros(slots, dtype=torch.bool, device=model.device)
        self.capture_stream = torch.cuda.Stream(model.device) if self.graphed else None
        self.release()

    def release(self) -> None:
        """Give the memory back; the next `make_room` takes it again, and graphs are captured anew."""
        self.graphs = {}
        self.pool = None
        self.cache = None
        self.capacity = 0
        self.new_tokens = 0

    def make_room(self, capacity: int, new_tokens: int) -> "Decoder":
        """Room for rows of at most `capacity` positions, `new_tokens` of them drawn."""
        model = self.model
        if capacity > self.capacity or new_tokens > self.new_tokens:
            capacity = max(capacity, self.capacity)
            new_tokens = max(new_tokens, self.new_tokens)
            self.release()  # before its successor is made
            self.capacity = capacity
            self.new_tokens = new_tokens
            self.cache = model.cache(self.slots, capacity)
            shape = (self.slots, new_tokens + 1)  # a frozen row writes where its next id would be
            self.ids = torch.zeros(shape, dtype=torch.int64, device=model.device)
            self.logprobs = torch.zeros(shape, device=model.device)
            self.uniform = torch.zeros(shape, device=model.device)
            vocabulary = model.config.vocab_size
            self.is_stop = torch.zeros(vocabulary, dtype=torch.bool, device=model.device)
            for counted in (self.pending, self.count, self.limit, self.alive):
                counted.zero_()  # what they counted is gone
        model.make_rope_table(self.capacity)
        self.is_stop.zero_()
        self.is_stop[list(model.stop_ids)] = True
        self.forget_stale_graphs()
        return self

    def forget_stale_graphs(self) -> None:
        """Drop the graphs if what they read has moved: weights, or the table of rotations."""
        reads = [*self.model.parameters(), self.model.rope_table]
        where = [tensor.data_ptr() for tensor in reads]
        if self.graphs and where != self.where:
            self.graphs = {}
            self.pool = None
        self.where = where

    def logits(self, spans: list[tuple[int, int]]):
        """Decode the pending ids of the first rows, each at its row's length: logits [B, V].

        spans: (rows, positions) each: so many rows, from the last one's on, of whose cache so many
        positions are read.
        """
        rows = sum(n for n, _ in spans)
        flash = self.graphed and self.model.packs
        attention = Cached(self.cache, spans, flash=flash)
        return self.model.head(self.model.hidden(self.pending[:rows], attention))

    @torch.inference_mode()
    def advance(self, held: list[tuple[int, int]], steps: int, step, sampling) -> None:
        """`steps` times `step(decoder, spans, sampling)` for the first rows.

        held: so many rows each, of which none holds more than so many positions yet.
        """
        if self.graphed:
            self.replay(held, steps, step, sampling)
            return
        for i in range(1, steps + 1):
            spans = [(rows, min(longest + i, self.capacity)) for rows, longest in held]
            step(self, spans, sampling)

    @torch.inference_mode(False)
    @torch.no_grad()
    def replay(self, held: list[tuple[int, int]], steps: int, step, sampling) -> None:
        """`advance` on a GPU."""
        ((rows, longest),) = held
        # The next power of two: few graphs; the rows beyond are not alive.
        rows = min(self.slots, 1 << (rows - 1).bit_length())
        span = min(self.capacity, -(-(longest + steps) // SPAN) * SPAN)
        key = rows, span, sampling
        if key not in self.graphs:
            self.graphs[key] = self.capture(rows, span, step, sampling)
        for _ in range(steps):
            self.graphs[key].replay()

    def capture(self, rows: int, span: int, step, sampling) -> torch.cuda.CUDAGraph:
        """A CUDA graph of one step.

        Warming up and capturing leave every row as it was: nobody is alive meanwhile.
        """
        pending, alive = self.pending.clone(), self.alive.clone()
        self.alive.zero_()
        self.capture_stream.wait_stream(torch.cuda.current_stream())
        # Kernels choose their workspaces for this stream: a capture may not.
        with torch.cuda.stream(self.capture_stream):
            for _ in range(2):
                step(self, [(rows, span)], sampling)
        torch.cuda.current_stream().wait_stream(self.capture_stream)
        if self.pool is None:
            self.pool = torch.cuda.graph_pool_handle()  # one pool: no two graphs run at a time
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool, stream=self.capture_stream):
            step(self, [(rows, span)], sampling)
        self.pending.copy_(pending)
        self.alive.copy_(alive)
        return graph

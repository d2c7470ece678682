"""The rows that decode: their buffers, and on a GPU the graphs that replay a step without Python.

A decode step of many rows is a few hundred small operations, and a GPU is faster than Python can
name them. So everything that a step reads and writes lies in buffers that stay where they are: the
step is captured once for each (slots, positions) as a CUDA graph and replayed; under flash
attention, which reads of each row what is in use, once for each number of slots. What a step does
stands in `sample.decode_step` and in the model; nothing here changes it.

The host does not look at each token: rows stop on the device, and a row that has stopped is frozen
until the host checks.

Words: a slot is a place in the buffers, a row is what sits in one, and the rows that decode sit in
the first slots. A span is a pair (slots, positions): so many slots, from the last span's end on, of
whose cache the next step reads so many positions, the one that it writes included.

Shapes: B rows, V vocabulary.
"""

import torch

from engine.attention import Cached

MOST_SLOTS = 256  # rows that decode at a time, unless the caller or the memory says otherwise
GRAPH_POSITIONS = 256  # a GPU's graphs of a masked cache read a multiple of so many positions


class Decoder:
    """`slots` rows in buffers that stay where they are, from `make_room` until `release`.

    The caller starts rows in the first slots and lets them `advance`; beyond these nothing is
    alive.
    """

    def __init__(self, model, slots: int):
        self.model = model
        self.slots = slots
        self.graphed = model.device.type == "cuda"
        # The id that a row decodes next; how many it has drawn, and how many it may.
        self.pending = torch.zeros(slots, dtype=torch.int64, device=model.device)
        self.count = torch.zeros_like(self.pending)
        self.limit = torch.zeros_like(self.pending)
        self.alive = torch.zeros(slots, dtype=torch.bool, device=model.device)
        self.capture_stream = torch.cuda.Stream(model.device) if self.graphed else None
        self.release()

    # ------------------------------------------------------------ memory

    def release(self) -> None:
        """Give the memory back, and the graphs with it, until the next `make_room`."""
        self.graphs = {}
        self.pool = None
        self.cache = None
        self.capacity = 0
        self.new_tokens = 0

    def make_room(self, capacity: int, new_tokens: int) -> "Decoder":
        """Room for rows of at most `capacity` positions, `new_tokens` of them drawn.

        No row is alive then.
        """
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
            for counter in (self.pending, self.count, self.limit):
                counter.zero_()  # what they counted is gone
        self.alive.zero_()  # an interrupted call may have left some
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

    # ------------------------------------------------------------ rows

    def start(self, taken: list[int], first_id: int, limit, uniform) -> None:
        """Rows begin in the slots `taken`, whose cache holds a prompt but for its last id.

        first_id: that last id, the first that they decode. limit [rows]: how many ids each may
        draw; uniform [rows, ids]: a random number for each of them.
        """
        self.pending[taken] = first_id
        self.count[taken] = 0
        self.alive[taken] = True
        self.limit[taken] = limit.to(self.limit.device)
        self.uniform[taken, : uniform.shape[1]] = uniform.to(self.uniform.device)

    def move(self, source: list[int], target: list[int], positions: int) -> None:
        """Rows change their slots; none of them holds more than `positions`."""
        self.cache.move(source, target, positions)
        for buffer in (self.ids, self.logprobs, self.uniform):
            buffer[target] = buffer[source]
        for buffer in (self.pending, self.count, self.limit, self.alive):
            buffer[target] = buffer[source]

    def clear(self, first: int, end: int) -> None:
        """The slots from `first` to `end` hold no rows any more."""
        self.alive[first:end] = False
        self.cache.lengths[first:end] = 0

    # ------------------------------------------------------------ steps

    @property
    def flash(self) -> bool:
        """Whether steps read through flash attention, of each row what is in use."""
        return self.graphed and self.model.packs

    def logits(self, spans: list[tuple[int, int]]):
        """Decode the pending ids of the first rows, each at its row's length: logits [B, V]."""
        in_use = sum(slots for slots, _ in spans)
        attention = Cached(self.cache, spans, flash=self.flash)
        return self.model.head(self.model.hidden(self.pending[:in_use], attention))

    def grown(self, spans: list[tuple[int, int]], steps: int) -> list[tuple[int, int]]:
        """What the spans are after `steps` more steps."""
        return [(slots, min(positions + steps, self.capacity)) for slots, positions in spans]

    @torch.inference_mode()
    def advance(
        self, spans: list[tuple[int, int]], steps: int, decode_step, sampling, eager: bool = False
    ) -> None:
        """`steps` times `decode_step(decoder, spans, sampling)`; `spans` are those of the first.

        eager: without graphs, for a step that is not the same each time or reads on the host.
        """
        if self.graphed and not eager:
            self.replay(spans, steps, decode_step, sampling)
            return
        for i in range(steps):
            decode_step(self, self.grown(spans, i), sampling)

    @torch.inference_mode(False)
    @torch.no_grad()
    def replay(self, spans: list[tuple[int, int]], steps: int, decode_step, sampling) -> None:
        """`advance` on a GPU, where there is one span."""
        ((slots, positions),) = self.grown(spans, steps - 1)  # as the last step needs it
        # The next power of two, and multiples: few graphs; the slots beyond are not alive.
        slots = min(self.slots, 1 << (slots - 1).bit_length())
        positions = min(self.capacity, -(-positions // GRAPH_POSITIONS) * GRAPH_POSITIONS)
        if self.flash:  # it reads no more for a larger bound: one graph serves all lengths
            positions = self.capacity
        key = (slots, positions, sampling)
        if key not in self.graphs:
            self.graphs[key] = self.capture(slots, positions, decode_step, sampling)
        for _ in range(steps):
            self.graphs[key].replay()

    def capture(self, slots: int, positions: int, decode_step, sampling) -> torch.cuda.CUDAGraph:
        """A CUDA graph of one step.

        Warming up and capturing leave every row as it was: nobody is alive meanwhile.
        """
        spans = [(slots, positions)]
        pending = self.pending.clone()
        alive = self.alive.clone()
        self.alive.zero_()
        self.capture_stream.wait_stream(torch.cuda.current_stream())
        # Kernels choose their workspaces for this stream: a capture may not.
        with torch.cuda.stream(self.capture_stream):
            for _ in range(2):
                decode_step(self, spans, sampling)
        torch.cuda.current_stream().wait_stream(self.capture_stream)
        if self.pool is None:
            self.pool = torch.cuda.graph_pool_handle()  # one pool: no two graphs run at a time
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool, stream=self.capture_stream):
            decode_step(self, spans, sampling)
        self.pending.copy_(pending)
        self.alive.copy_(alive)
        return graph

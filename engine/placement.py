"""Which row sits in which slot of a decoder, so that a step reads and computes as little as it can.

A decode step computes the first slots up to the last row, and reads of each slot's cache as many
positions as the longest row beside it holds. So rows leave no gaps between them, and on a CPU,
where reading costs the most, the longest ones stand together in the first quarter of the slots: a
step then reads two spans, a long one of few slots and a short one of many. On a GPU a kernel knows
each row's own length, and there is one span.

Nothing here changes what a row draws: a row's random numbers go with it.
"""

WORTH_TWO_SPANS = (
    0.8  # of the reading that one span takes: two products a layer cost something, too
)


class Placement:
    """The first `in_use` slots, each with a row or free for one, and the rows' owners.

    free: slots without a row, in rising order; before a step all of them have to be seated.
    owner: of each slot in use, the index of the rollout that sits there.
    """

    def __init__(self, decoder, in_use: int):
        self.decoder = decoder
        self.in_use = in_use
        self.free = list(range(in_use))
        self.owner = [-1] * in_use
        self.front = 0  # slots of the longest rows
        if not decoder.graphed:
            self.front = decoder.slots // 4
        self.measured = None  # the next step's spans; None where rows have come or gone since

    def seat(self, rollouts: list[int]) -> list[int]:
        """Give the first free slots to these rollouts; returns the slots."""
        taken = self.free[: len(rollouts)]
        self.free = self.free[len(rollouts) :]
        for slot, rollout in zip(taken, rollouts):
            self.owner[slot] = rollout
        self.measured = None
        return taken

    def evict(self, ended: list[int], waiting: int) -> None:
        """Take the rows out of the slots `ended`, which stand in rising order.

        Where rollouts are `waiting`, a slot for each becomes free; other gaps are closed.
        """
        empty = ended
        if waiting > 0:
            empty = self.fill_front(ended)
        self.free = empty[:waiting]
        self.close(empty[waiting:])
        self.measured = None

    def fill_front(self, empty: list[int]) -> list[int]:
        """Move the longest rows from behind into empty slots of the front; returns what is empty.

        The queue then refills behind, with rows that are short as yet.
        """
        in_front = [slot for slot in empty if slot < self.front]
        if not in_front:
            return empty
        lengths = self.decoder.cache.lengths[: self.in_use].tolist()
        behind = sorted(set(range(self.front, self.in_use)).difference(empty))
        behind.sort(key=lengths.__getitem__, reverse=True)
        longest = behind[: len(in_front)]
        filled = in_front[: len(longest)]
        self.move(longest, filled)
        return sorted(set(empty).difference(filled).union(longest))

    def close(self, gaps: list[int]) -> None:
        """Move the last rows into the gaps: fewer slots are in use."""
        if not gaps:
            return
        end = self.in_use - len(gaps)
        # Rows, all of them: a slot that is free for another comes before all of the gaps.
        beyond = sorted(set(range(end, self.in_use)).difference(gaps))
        self.move(beyond, gaps[: len(beyond)])  # as many gaps lie before the end
        self.decoder.clear(end, self.in_use)
        self.in_use = end
        self.owner = self.owner[:end]

    def move(self, source: list[int], target: list[int]) -> None:
        """Rows change their slots."""
        if not source:
            return
        longest = max(positions for _, positions in self.measured)
        self.decoder.move(source, target, longest)
        for old, new in zip(source, target):
            self.owner[new] = self.owner[old]

    def spans(self) -> list[tuple[int, int]]:
        """(slots, positions) of the next step: two where that saves a fifth of the reading."""
        if self.measured is None:
            self.measured = self.measure()
        return self.measured

    def measure(self) -> list[tuple[int, int]]:
        """The spans, from the lengths of the rows."""
        lengths = self.decoder.cache.lengths[: self.in_use].tolist()
        longest = max(lengths)
        longest_behind = max(lengths[self.front :], default=0)
        behind = self.in_use - self.front
        two_spans = self.front * longest + behind * longest_behind
        one_span = self.in_use * longest
        # A step reads one position more than a row holds: its own.
        if two_spans < WORTH_TWO_SPANS * one_span:
            return [(self.front, longest + 1), (behind, longest_behind + 1)]
        return [(self.in_use, longest + 1)]

    def grow(self, steps: int) -> None:
        """All rows have decoded `steps` more ids."""
        self.measured = self.decoder.grown(self.measured, steps)

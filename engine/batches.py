"""Rows of any lengths in micro-batches of a bounded number of tokens."""


def micro_batches(lengths: list[int], token_budget: int, packed: bool = False) -> list[list[int]]:
    """Indices in batches of at most `token_budget` tokens; rows of like length stand together, the longest first.

    Padding is counted, unless the rows are `packed`. A row longer than the budget stands alone.
    """
    batches, used = [], 0
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        # A padded row costs as much as the first of its batch, which is the longest.
        cost = lengths[i] if packed or not batches else lengths[batches[-1][0]]
        if batches and used + cost <= token_budget:
            batches[-1].append(i)
            used += cost
        else:
            batches.append([i])
            used = lengths[i]
    return batches

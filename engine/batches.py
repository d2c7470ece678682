"""Rows of any lengths in micro-batches of a bounded number of tokens."""

# The largest fp32 tensor [positions, V] that the trainer makes: 384 positions of Qwen's vocabulary.
LOGITS_BYTES = 256 * 10**6
# The same where a GPU's memory allows it: 3,200 positions.
LARGE_LOGITS_BYTES = 2 * 10**9
TILE = 128  # rows of a GPU's product that are computed together
# Tokens of prompts that the sampler prefills at a time.
PREFILL_TOKENS = 16384


def logits_positions(vocabulary: int, size: int) -> int:
    """How many positions' fp32 logits `size` bytes hold: whole tiles, if there is room for one."""
    positions = size // (4 * vocabulary)
    if positions >= TILE:
        return positions - positions % TILE
    return max(1, positions)


def micro_batches(lengths: list[int], token_budget: int, packed: bool = False) -> list[list[int]]:
    """Indices of rows in batches of at most `token_budget` tokens.

    Rows of like length stand together, the longest first. Padding is counted, unless the rows are
    `packed`. A row longer than the budget stands alone.
    """
    longest_first = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    batches = []
    used = 0  # tokens of the last batch
    for i in longest_first:
        cost = lengths[i]
        if batches and not packed:
            # A padded row costs as much as the first of its batch, which is the longest.
            first = batches[-1][0]
            cost = lengths[first]
        if batches and used + cost <= token_budget:
            batches[-1].append(i)
            used += cost
        else:
            batches.append([i])
            used = lengths[i]
    return batches

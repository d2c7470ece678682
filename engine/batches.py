"""Rows of any lengths in micro-batches of a bounded number of tokens."""

# The largest fp32 tensor [positions, V] that the trainer makes: 421 positions of Qwen's vocabulary.
LOGITS_BYTES = 256 * 10**6
# Tokens of prompts that the sampler prefills at a time.
PREFILL_TOKENS = 16384


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

"""The floors that times are compared with.

A floor is the time that the machine needs at least: the larger of bytes over the copy bandwidth and
operations over the matrix rate, both measured here, on this machine and in the same run. Bytes are
those that a perfect program still moves: every weight once a step, and the keys and values of the
live rows, no padding. Operations are 2 a weight and token forward, three times as many with the
backward pass, plus attention's two products; recomputation does not count. A prompt is computed
once for all of its responses.
"""

from dataclasses import dataclass
from statistics import median

import torch

from speed.lengths import makespan
from speed.measure import seconds_of


@dataclass(frozen=True)
class Machine:
    """What the machine does at most."""

    bandwidth: float  # bytes read and written per second by a large copy
    rate: float  # operations per second of a large matrix product in the compute type

    def floor(self, size: float, operations: float) -> tuple[float, str]:
        """(seconds at least, which of the two says so)."""
        moving = size / self.bandwidth
        computing = operations / self.rate
        return max((moving, "bytes"), (computing, "operations"))


def measure_machine(device, dtype, size: int, width: int) -> Machine:
    """Both rates of a machine, medians of five.

    size: bytes of the tensor that is copied. width: rows and columns of the matrices.
    """
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    left = torch.randn(width, width, device=device, dtype=dtype)
    right = torch.randn(width, width, device=device, dtype=dtype)
    out = torch.empty_like(left)

    def copy():
        target.copy_(source)

    def multiply():
        torch.mm(left, right, out=out)

    bandwidth = 2 * size / typical_seconds(copy, device)
    rate = 2 * width**3 / typical_seconds(multiply, device)
    return Machine(bandwidth, rate)


def typical_seconds(call, device) -> float:
    """The median of five calls after two that warm up."""
    seconds = [seconds_of(call, device) for _ in range(7)]
    return median(seconds[2:])


# ---------------------------------------------------------------- what a model costs


def matrix_weights(model) -> tuple[int, int]:
    """(weights of the layers' matrices, weights of the head): what a token is multiplied with."""
    layers = 0
    for parameter in model.layers.parameters():
        if parameter.dim() > 1:
            layers += parameter.numel()
    return layers, model.config.vocab_size * model.config.hidden_size


def weight_bytes(model) -> int:
    """Bytes of weights that a decode step reads.

    It reads all of them, but of an untied embedding only single rows.
    """
    weights = sum(parameter.numel() for parameter in model.parameters())
    if not model.config.tie_word_embeddings:
        weights -= model.embed_tokens.weight.numel()
    return weights * model.dtype.itemsize


def kv_bytes(model) -> int:
    """Bytes of the keys and values of one token."""
    c = model.config
    numbers = 2 * c.num_hidden_layers * c.num_key_value_heads * c.head_size
    return numbers * model.dtype.itemsize


def attention_operations(model, pairs: int) -> int:
    """Operations of attention for so many pairs of a token and one that it sees.

    There are two products in every head.
    """
    c = model.config
    return 4 * c.num_hidden_layers * c.num_attention_heads * c.head_size * pairs


def forward_operations(model, lengths: list[int], scored: int) -> int:
    """Operations of a causal forward pass over rows of these lengths.

    The head runs on `scored` positions alone.
    """
    layers, head = matrix_weights(model)
    products = 2 * (layers * sum(lengths) + head * scored)
    pairs = 0
    for length in lengths:
        pairs += length * (length + 1) // 2
    return products + attention_operations(model, pairs)


def decode_work(model, slots: int, context: int) -> tuple[int, int]:
    """(bytes, operations) of one decode step of `slots` rows that each see `context` tokens."""
    seen = slots * context
    size = weight_bytes(model) + seen * kv_bytes(model)
    products = 2 * sum(matrix_weights(model)) * slots
    return size, products + attention_operations(model, seen)


def tokens_seen(prompts: list[int], n: int, lengths: list[int]) -> int:
    """What the computed tokens of responses see, themselves included, summed over all of them.

    prompts: the tokens of each prompt. lengths: those of its `n` responses, group by group. The
    last id of a prompt is the first token that its response computes; the response's last id is
    only drawn.
    """
    seen = 0
    for i, length in enumerate(lengths):
        start = prompts[i // n]
        seen += length * start + length * (length - 1) // 2
    return seen


def group_operations(model, prompts: list[int], n: int, lengths: list[int]) -> int:
    """Operations of a forward pass over groups of responses, with each prompt computed once.

    The arguments are those of `tokens_seen`. The head runs once for each id of a response. Of the
    prompts, all that the layers compute counts: also what follows the last layer's keys and values.
    """
    # The last id of a prompt belongs to each of its responses.
    shared = [prompt - 1 for prompt in prompts]
    products = 2 * sum(matrix_weights(model)) * sum(lengths)
    of_responses = products + attention_operations(model, tokens_seen(prompts, n, lengths))
    return forward_operations(model, shared, 0) + of_responses


def update_operations(model, prompts: list[int], n: int, lengths: list[int]) -> int:
    """Operations of an update on groups of responses: a forward and a backward pass.

    The arguments are those of `tokens_seen`.
    """
    return 3 * group_operations(model, prompts, n, lengths)


def rollout_work(
    model, prompts: list[int], n: int, lengths: list[int], slots: int
) -> tuple[int, int]:
    """(bytes, operations) of a whole rollout.

    Prompts of these lengths are prefilled once each, with `n` responses to each. Bytes: the weights
    once for each of the steps that perfect refilling needs, and what each token sees, when it is
    drawn.
    """
    seen = tokens_seen(prompts, n, lengths)
    size = makespan(lengths, slots) * weight_bytes(model) + seen * kv_bytes(model)
    return size, group_operations(model, prompts, n, lengths)

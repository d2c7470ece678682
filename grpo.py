"""Advantages and token losses: GRPO and Dr. GRPO next to each other.

Tensors in, tensors out, no model inside.

Shapes: P prompts, G rollouts a group, B rows of a micro-batch, T tokens of its longest response.

    GRPO                                                 Dr. GRPO
    A_i  = (r_i - mean r) / (std r + eps)      [1]       A_i  = r_i - mean r
    loss = -1/B sum_i 1/|o_i|  sum_t m_it      [2]       loss = -1/B sum_i 1/L  sum_t m_it

with m_it = min(ratio_it A_i, clip(ratio_it, 1 - low, 1 + high) A_i) and L = max_new_tokens, a
constant. They differ in these two places and nowhere else. GRPO: DeepSeekMath (arXiv 2402.03300,
eq. 3); Dr. GRPO: arXiv 2503.20783, section 3.

`B` above is the number of rollouts of the whole optimizer step. All sums over the step are divided
by numbers that are counted once, before the step is cut into micro-batches (`Denominators`), so the
cut cannot change the gradient.

Rows have lengths. Beyond a row's length callers put zeros, into the log-probs of every side and
into entropies. The weights of `token_weights` are 0 there, so a sum over weighted tokens does not
read what stands there, if it is finite. What sums a whole row without weights relies on the zeros:
the ratios and the KL of whole sequences in estimators.py.

Other choices for A, m and the KL term, by the names of their papers, are in estimators.py.
"""

from dataclasses import dataclass

import torch

STD_EPS = 1e-6  # in reward units: keeps a group of nearly equal rewards from dividing by zero


@dataclass(frozen=True)
class Loss:
    """What GRPO and Dr. GRPO choose."""

    divide_by_std: bool  # place [1]
    normaliser: str  # place [2]: a case of token_weights


LOSSES = {
    "grpo": Loss(divide_by_std=True, normaliser="sequence_mean"),
    "dr_grpo": Loss(divide_by_std=False, normaliser="constant"),
}
NORMALISERS = ("sequence_mean", "constant", "token_mean", "sequence_sum")


def advantages(rewards: torch.Tensor, divide_by_std: bool) -> torch.Tensor:
    """Group-relative advantages: rewards [P, G] to [P, G], each row centred on its own mean.

    The standard deviation is the unbiased one (over G - 1). A group of equal rewards gets 0.
    """
    P, G = rewards.shape
    assert G > 1, "a group of one has no advantage"
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    # Exactly 0, for 0.1 * 3 / 3 - 0.1 is not 0 in floating point.
    centred = centred.masked_fill(equal_groups(rewards)[:, None], 0.0)
    if divide_by_std:
        std = rewards.std(dim=1, keepdim=True, unbiased=True)
        centred = centred / (std + STD_EPS)  # [1] GRPO only
    return centred


def equal_groups(rewards: torch.Tensor) -> torch.Tensor:
    """Which groups have equal rewards, so that none of them tells anything: [P, G] to bool [P]."""
    return (rewards == rewards[:, :1]).all(dim=1)


@dataclass(frozen=True)
class Denominators:
    """Counted once over the whole optimizer step.

    Rows of dropped groups are included: they are zeros in the same mean.
    """

    rows: int  # rollouts
    tokens: int  # response tokens
    max_new_tokens: int  # Dr. GRPO's constant L: the generation limit, not the padded length


def token_weights(
    lengths: torch.Tensor, T: int, normaliser: str, step: Denominators
) -> torch.Tensor:
    """The weight of each token in the loss, [B, T].

    It is 0 beyond a row's length: masks come from lengths, never from ids.
    """
    mask = (torch.arange(T, device=lengths.device) < lengths[:, None]).float()
    if normaliser == "sequence_mean":
        return mask / lengths[:, None] / step.rows  # [2] GRPO: 1/|o_i|
    if normaliser == "constant":
        return mask / step.max_new_tokens / step.rows  # [2] Dr. GRPO: 1/L
    if normaliser == "token_mean":
        return mask / step.tokens
    assert normaliser == "sequence_sum", normaliser
    return mask / step.rows


def clip(ratio, A, clip_low: float, clip_high: float):
    """PPO's pessimistic bound (arXiv 1707.06347, eq. 7), for advantages of either sign.

    Returns (objective, where the bound holds, so that there is no gradient), in one shape.
    """
    bounded = ratio.clamp(1 - clip_low, 1 + clip_high)
    objective = torch.minimum(ratio * A, bounded * A)
    return objective, bounded * A < ratio * A


def token_surrogate(logprobs, old_logprobs, A, lengths, clip_low: float, clip_high: float):
    """m_it: a ratio and a clip of each token's own; what `clip` returns, [B, T]."""
    difference = logprobs - old_logprobs
    return clip(difference.exp(), A, clip_low, clip_high)


def policy_loss(
    logprobs,
    old_logprobs,
    advantage,
    lengths,
    loss,
    step: Denominators,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    surrogate=token_surrogate,
):
    """The loss of a micro-batch, and what to log of it.

    logprobs, old_logprobs: [B, T], 0 beyond a row's length; lengths: [B]; advantage: [B], one for
    the whole response, or [B, T]. loss: a Loss, or an Estimator, of which the normaliser is read;
    surrogate: what makes the objective of each token. Returns (scalar loss, {"clipped": how many
    response tokens the bound holds, a tensor}). The stop token is the last of a response's tokens,
    an action like the others.
    """
    B, T = logprobs.shape
    assert old_logprobs.shape == (B, T) and lengths.shape == (B,)
    assert advantage.shape in ((B,), (B, T))
    A = advantage if advantage.dim() == 2 else advantage[:, None]
    weights = token_weights(lengths, T, loss.normaliser, step)
    objective, clipped = surrogate(logprobs, old_logprobs, A, lengths, clip_low, clip_high)
    total = -(objective * weights).sum()
    clipped = clipped.expand(B, T) & (weights > 0)
    return total, {"clipped": clipped.sum()}

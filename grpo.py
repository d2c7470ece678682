"""Advantages and token losses: GRPO and Dr. GRPO next to each other.

Tensors in, tensors out, no model inside.

Shapes: P prompts, G rollouts a group, B rows of a micro-batch, T tokens of its longest response.
Rows have lengths; what stands beyond a row's length is never read.

    GRPO                                                 Dr. GRPO
    A_i  = (r_i - mean r) / (std r + eps)      [1]       A_i  = r_i - mean r
    loss = -1/B sum_i 1/|o_i|  sum_t m_it      [2]       loss = -1/B sum_i 1/L  sum_t m_it

with m_it = min(ratio_it A_i, clip(ratio_it, 1 - low, 1 + high) A_i) and L = max_new_tokens, a
constant. They differ in these two places and nowhere else. GRPO: DeepSeekMath (arXiv 2402.03300,
eq. 3); Dr. GRPO: arXiv 2503.20783, section 3.

`B` above is the number of rollouts of the whole optimizer step. All sums over the step are divided
by numbers that are counted once, before the step is cut into micro-batches (`Denominators`), so the
cut cannot change the gradient.
"""

from dataclasses import dataclass, replace

import torch

from config import UserError

STD_EPS = 1e-6  # in reward units: keeps a group of nearly equal rewards from dividing by zero


@dataclass(frozen=True)
class Loss:
    """One of the things that people call GRPO: three choices."""

    divide_by_std: bool  # place [1]
    normaliser: str  # place [2]: sequence_mean | constant | token_mean | sequence_sum
    ratio: str = "token"  # token | sequence | sequence_mean


LOSSES = {
    "grpo": Loss(divide_by_std=True, normaliser="sequence_mean"),
    "dr_grpo": Loss(divide_by_std=False, normaliser="constant"),
    # DAPO, verl's default.
    "token_mean": Loss(divide_by_std=True, normaliser="token_mean"),
    "sequence_sum": Loss(divide_by_std=True, normaliser="sequence_sum"),
    # R1-Zero's equation 1, and GSPO (arXiv 2507.18071).
    "sequence_ratio": Loss(divide_by_std=True, normaliser="sequence_mean", ratio="sequence"),
    "gspo": Loss(divide_by_std=True, normaliser="sequence_mean", ratio="sequence_mean"),
}
NORMALISERS = ("sequence_mean", "constant", "token_mean", "sequence_sum")


def choose(name: str, std: str = "auto", normaliser: str = "auto") -> Loss:
    """A loss by name.

    `std` (on | off) and `normaliser` switch either place alone, `auto` keeps the name's own.
    """
    if name not in LOSSES:
        raise UserError(f"unknown loss {name!r}: choose {', '.join(LOSSES)}")
    if std not in ("auto", "on", "off") or normaliser not in ("auto", *NORMALISERS):
        raise UserError(
            f"--std {std} --normaliser {normaliser}: choose auto, on, off and auto, "
            f"{', '.join(NORMALISERS)}"
        )
    loss = LOSSES[name]
    if std != "auto":
        loss = replace(loss, divide_by_std=std == "on")
    if normaliser != "auto":
        loss = replace(loss, normaliser=normaliser)
    return loss


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
    """Which groups teach nothing, all rewards being equal: rewards [P, G] to bool [P]."""
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


def importance_ratio(logprobs, old_logprobs, lengths, kind: str) -> torch.Tensor:
    """pi / pi_old per token [B, T], or of the whole response, then [B, 1].

    kind: token | sequence | sequence_mean, which takes the |o|-th root.
    """
    difference = logprobs - old_logprobs  # 0 beyond a row's length on both sides
    if kind == "token":
        return difference.exp()
    total = difference.sum(dim=1, keepdim=True)
    if kind == "sequence_mean":
        total = total / lengths[:, None]
    # A sum over 1,000 tokens can pass 88, where exp overflows and gradients are NaN.
    return total.clamp(-20, 20).exp()


def bound(ratio, clip_low: float, clip_high: float) -> torch.Tensor:
    """The ratio, held between 1 - clip_low and 1 + clip_high."""
    return ratio.clamp(1 - clip_low, 1 + clip_high)


def clips(ratio, A, clip_low: float, clip_high: float) -> torch.Tensor:
    """Where PPO's bound holds, so that a token has no gradient: bool, in the shape of ratio * A."""
    return bound(ratio, clip_low, clip_high) * A < ratio * A


def kl_estimate(logprobs, ref_logprobs, kind: str) -> torch.Tensor:
    """Estimates of KL(pi || ref) from samples of pi, per token (J. Schulman, "Approximating KL
    divergence", 2020).

    k1 = log pi/ref, unbiased, can be negative; as a *loss* its on-policy expected gradient is 0.
    k2 = k1^2 / 2. k3 = ref/pi - 1 - log ref/pi: never negative, what DeepSeekMath puts into the
    loss.
    """
    log_ratio = ref_logprobs - logprobs
    if kind == "k1":
        return -log_ratio
    if kind == "k2":
        return log_ratio.square() / 2
    assert kind == "k3", kind
    return log_ratio.exp() - 1 - log_ratio


def policy_loss(
    logprobs,
    old_logprobs,
    advantage,
    lengths,
    loss: Loss,
    step: Denominators,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    ref_logprobs=None,
    kl_coef: float = 0.0,
    kl_kind: str = "k3",
):
    """The loss of a micro-batch, and what to log of it.

    logprobs, old_logprobs, ref_logprobs: [B, T], 0 beyond a row's length; advantage, lengths: [B].
    Returns (scalar loss, {"clipped": clipped tokens, "kl": summed KL estimate}), sums over the
    response tokens. The stop token is the last of a response's tokens, an action like the others.
    """
    B, T = logprobs.shape
    assert old_logprobs.shape == (B, T) and advantage.shape == lengths.shape == (B,)
    A = advantage[:, None]
    weights = token_weights(lengths, T, loss.normaliser, step)
    ratio = importance_ratio(logprobs, old_logprobs, lengths, loss.ratio)
    bounded = bound(ratio, clip_low, clip_high)
    # PPO's pessimistic bound (arXiv 1707.06347, eq. 7), for advantages of either sign.
    objective = torch.minimum(ratio * A, bounded * A)
    total = -(objective * weights).sum()
    with torch.no_grad():
        clipped = clips(ratio, A, clip_low, clip_high).expand(B, T) * (weights > 0)
        kl = torch.zeros(())
    if kl_coef:
        estimate = kl_estimate(logprobs, ref_logprobs, kl_kind)
        total = total + kl_coef * (estimate * weights).sum()
        kl = (estimate.detach() * (weights > 0)).sum()
    return total, {"clipped": clipped.sum().item(), "kl": kl.item()}

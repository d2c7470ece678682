"""What the field has chosen where GRPO and Dr. GRPO choose: four axes, and presets with names.

`python train.py --loss NAME` takes a preset; a flag changes one axis of it.

    axis                       flag                     where
    what a reward is set       --baseline               `centred`
    against
    what advantages are        --advantage-normaliser   `normalised`
    divided by                 (--std on | off)
    how tokens are weighed     --importance             `SURROGATES`
    for what the policy was
    what sums are divided by   --normaliser             `token_weights`, in grpo.py

Shapes: P prompts, G rollouts a group, B rows of a micro-batch, T tokens of its longest response.
Rows have lengths; log-probs are 0 beyond them, which the ratios and the KL of whole sequences rely
on. Symbols: r rewards, A advantages, pi the policy, old what it was when the step began, ref the
starting model, o a response of |o| tokens, sg the stop of gradients.

What differs from each source on purpose stands in docs/estimators.md.
"""

import math
from dataclasses import asdict, dataclass, replace

import torch

import grpo
from config import UserError, flag_of
from grpo import STD_EPS, Denominators

# ---------------------------------------------------------------- presets


@dataclass(frozen=True)
class Estimator:
    """A choice on each axis, and what comes with it."""

    baseline: str = "mean"
    advantage_normaliser: str = "std"
    importance: str = "token"
    normaliser: str = "sequence_mean"
    positives_only: bool = False  # only right responses have an advantage
    kl_level: str = "token"  # of the KL term in the loss: of each token, or of the whole sequence
    clip_low: float = 0.2  # a ratio is held above 1 - this
    clip_high: float = 0.2  # and below 1 + this


BASELINES = ("mean", "none", "loo")
ADVANTAGE_NORMALISERS = ("std", "none", "mean", "batch-std")
KL_LEVELS = ("token", "sequence")


def of_loss(loss: grpo.Loss) -> Estimator:
    """A loss of grpo.py, which chooses on two axes, on all of them."""
    by = "std" if loss.divide_by_std else "none"
    return Estimator(advantage_normaliser=by, normaliser=loss.normaliser)


PRESETS = {
    # DeepSeekMath (arXiv 2402.03300), Dr. GRPO (2503.20783), and what a reader adds to grpo.py.
    **{name: of_loss(loss) for name, loss in grpo.LOSSES.items()},
    # DAPO (2503.14476), eq. 8 and section 3.1, clip-higher.
    "dapo": Estimator(normaliser="token_mean", clip_low=0.2, clip_high=0.28),
    # GSPO (2507.18071), eq. 5 to 7, clips of section 5.1. At 0.2 a geometric mean never clips.
    "gspo": Estimator(importance="sequence-mean", clip_low=3e-4, clip_high=4e-4),
    # CISPO (MiniMax-M1, 2506.13585), eq. 4 and 5: no lower bound; the upper one, 5 in all, is
    # ScaleRL's (2510.13786), for MiniMax-M1 gives none.
    "cispo": Estimator(importance="cispo", normaliser="token_mean", clip_low=1.0, clip_high=4.0),
    # RLOO (2402.14740), section 2.2. Its sum over tokens is divided by the constant L here.
    "rloo": Estimator(
        baseline="loo", advantage_normaliser="none", importance="none", normaliser="constant"
    ),
    # REINFORCE++ (2501.03262), without a group's baseline.
    "reinforce++": Estimator(baseline="none", advantage_normaliser="batch-std"),
    # Rejection sampling fine-tuning (2308.01825; RAFT, 2504.11343): likelihood of right responses.
    "rft": Estimator(
        baseline="none",
        advantage_normaliser="none",
        importance="none",
        normaliser="constant",
        positives_only=True,
    ),
    # MaxRL (2602.02710): its estimator of the gradient of log (share of right responses).
    "maxrl": Estimator(advantage_normaliser="mean", normaliser="constant"),
    # DeepSeek-R1 (2501.12948), eq. 1 to 3.
    "r1": Estimator(importance="sequence", kl_level="sequence"),
    # verl's default, and DAPO's without the higher clip.
    "token_mean": Estimator(normaliser="token_mean"),
    "sequence_sum": Estimator(normaliser="sequence_sum"),
    # R1's equation 1 with a KL term of each token.
    "sequence_ratio": Estimator(importance="sequence"),
}
# Those of grpo.py, and of what a reader adds there.
NORMALISERS = (
    *grpo.NORMALISERS,
    *sorted({preset.normaliser for preset in PRESETS.values()} - {*grpo.NORMALISERS}),
)


def choose(name: str, std: str = "auto", positives_only: str = "auto", **choices) -> Estimator:
    """A preset by name, and in place of its own what is given beside it.

    choices: fields of an Estimator; "auto" and None keep the preset's. `std` is on or off, short
    for the advantage normaliser std or none; `positives_only` is on or off.
    """
    if name not in PRESETS:
        raise UserError(f"unknown loss {name!r}: choose {', '.join(PRESETS)}")
    given = {axis: value for axis, value in choices.items() if value not in ("auto", None)}
    if std != "auto":
        by = "std" if std == "on" else "none"
        if given.setdefault("advantage_normaliser", by) != by:
            raise UserError(
                f"--std {std} is --advantage-normaliser {by}, and --advantage-normaliser "
                f"{given['advantage_normaliser']} is another: leave one out"
            )
    if positives_only != "auto":
        given["positives_only"] = positives_only == "on"
    chosen = replace(PRESETS[name], **given)
    check_choices(chosen)
    return chosen


def check_choices(estimator: Estimator) -> None:
    """A UserError if a preset, or what is given beside it, names a choice that there is not."""
    known = {
        "baseline": BASELINES,
        "advantage_normaliser": ADVANTAGE_NORMALISERS,
        "importance": SURROGATES,
        "kl_level": KL_LEVELS,
    }
    for axis, choices in known.items():
        value = getattr(estimator, axis)
        if value not in choices:
            raise UserError(f"{flag_of(axis)} {value}: choose {', '.join(choices)}")


def as_settings(estimator: Estimator) -> dict:
    """The values of the flags that `choose` makes the same estimator of, whatever the preset."""
    settings = asdict(estimator)
    settings["positives_only"] = "on" if estimator.positives_only else "off"
    return settings


# ---------------------------------------------------------------- advantages


def advantages(rewards: torch.Tensor, accuracy: torch.Tensor, estimator: Estimator) -> torch.Tensor:
    """Advantages of a step's rollouts: rewards and accuracy (1 for right, else 0) [P, G] to [P, G].

    UserError where MaxRL's normaliser meets a reward below 0.
    """
    by = estimator.advantage_normaliser
    if by == "mean" and (rewards < 0).any():
        raise UserError(negative_reward("a reward is below 0"))
    if estimator.baseline == "mean" and by in ("std", "none"):
        A = grpo.advantages(rewards, divide_by_std=by == "std")
    else:
        A = normalised(centred(rewards, estimator.baseline), rewards, accuracy, estimator)
    if estimator.positives_only:
        A = A * (accuracy == 1)
    return A


def negative_reward(what: str) -> str:
    """Why MaxRL's normaliser is refused."""
    return (
        f"{what}: --advantage-normaliser mean (MaxRL) divides by the share of right responses, "
        "which is for rewards that are never negative; take another --reward or --loss"
    )


def centred(rewards: torch.Tensor, baseline: str) -> torch.Tensor:
    """Rewards [P, G] less what they are set against.

    none: r_i.
    mean: r_i - mean(r_1 .. r_G), the group's.
    loo, leave one out (RLOO, arXiv 2402.14740, section 2.2): r_i - mean of the other G - 1, which
    is what `mean` gives times G / (G - 1).
    """
    if baseline == "none":
        return rewards
    G = rewards.shape[1]
    less_mean = grpo.advantages(rewards, divide_by_std=False)
    if baseline == "mean":
        return less_mean
    assert baseline == "loo", baseline
    return less_mean * (G / (G - 1))


def normalised(
    advantage: torch.Tensor, rewards: torch.Tensor, accuracy: torch.Tensor, estimator: Estimator
) -> torch.Tensor:
    """Centred rewards [P, G] over what the advantage normaliser says.

    std: A / (std(r_1 .. r_G) + eps), the group's; a group of equal rewards gets 0.
    none: A.
    mean (MaxRL, arXiv 2602.02710): A / mean accuracy of the group; 0 where nothing is right.
    batch-std: A / (std r + eps) over all rollouts of the step (Lite PPO, 2508.08221, section 3);
    without a baseline the mean of all is subtracted first (REINFORCE++, 2501.03262).
    """
    by = estimator.advantage_normaliser
    if by == "none":
        return advantage
    if by == "std":
        std = rewards.std(dim=1, keepdim=True, unbiased=True)
        divided = advantage / (std + STD_EPS)
        return divided.masked_fill(grpo.equal_groups(rewards)[:, None], 0.0)
    if by == "mean":
        share = accuracy.mean(dim=1, keepdim=True)
        return torch.where(share > 0, advantage / share, 0.0)
    assert by == "batch-std", by
    if estimator.baseline == "none":
        advantage = rewards - rewards.mean()
    divided = advantage / (rewards.std(unbiased=True) + STD_EPS)
    return divided.masked_fill((rewards == rewards[0, 0]).all(), 0.0)


# ---------------------------------------------------------------- a teacher


def with_teacher(advantage, logprobs, teacher_logprobs, coef: float) -> torch.Tensor:
    """Advantages of tokens: what rollouts have earned, and what a teacher says of each token.

        A_t = A + coef (log teacher(o_t) - log pi(o_t))

    With A = 0 the gradient of the policy loss is, in expectation, that of

        coef sum_t KL(pi(. | o_<t) || teacher(. | o_<t))

    over responses that the policy draws itself, where o_<t is taken as given: on-policy
    distillation with the reverse KL (GKD, arXiv 2306.13649, section 3), estimated from the token
    that was drawn. What is dropped is that a token also decides how far apart the two will be later
    on. The gradient of the KL of whole responses has in place of each A_t the sum A_t + A_t+1 + ...
    to the end (MiniLLM, 2306.08543, section 2.2, separates the two parts); of responses of one
    token both are the same.

    advantage: [B]; logprobs, teacher_logprobs: [B, T], 0 beyond a row's length. Returns [B, T],
    without gradient; beyond a row's length it is A.
    """
    assert logprobs.shape == teacher_logprobs.shape and len(advantage) == len(logprobs)
    distance = kl_estimate(logprobs, teacher_logprobs, "k1")
    return advantage[:, None] - coef * distance.detach()


# ---------------------------------------------------------------- importance

# A sum over 1,000 tokens can pass 88, where exp overflows and gradients are NaN.
LOG_RATIO_MOST = 20.0
# The largest weight of --importance tis: that of oat and of "Your efficient RL framework secretly
# brings you off-policy RL training" (F. Yao and others, 2025).
TIS_MOST = 2.0

# A surrogate takes (logprobs, old_logprobs, A, lengths, clip_low, clip_high), A of [B, 1] or
# [B, T], and gives (the objective of each token, where a bound has been met), [B, T] or [B, 1].


def log_likelihood(logprobs, old_logprobs, A, lengths, clip_low: float, clip_high: float):
    """none: A log pi(o_t), whatever the policy was (REINFORCE, Williams 1992)."""
    objective = A * logprobs
    return objective, torch.zeros_like(objective, dtype=torch.bool)


def unclipped(logprobs, old_logprobs, A, lengths, clip_low: float, clip_high: float):
    """unclipped: ratio_t A, with ratio_t = pi(o_t) / old(o_t) (PPO, arXiv 1707.06347, eq. 6)."""
    objective = (logprobs - old_logprobs).exp() * A
    return objective, torch.zeros_like(objective, dtype=torch.bool)


def sequence_log_ratio(logprobs, old_logprobs) -> torch.Tensor:
    """log of pi(o) / old(o) of the whole response, [B, 1]."""
    total = (logprobs - old_logprobs).sum(dim=1, keepdim=True)
    return total.clamp(-LOG_RATIO_MOST, LOG_RATIO_MOST)


def mean_log_ratio(logprobs, old_logprobs, lengths) -> torch.Tensor:
    """log of (pi(o) / old(o)) ** (1 / |o|), [B, 1]."""
    total = (logprobs - old_logprobs).sum(dim=1, keepdim=True) / lengths[:, None]
    return total.clamp(-LOG_RATIO_MOST, LOG_RATIO_MOST)


def sequence(logprobs, old_logprobs, A, lengths, clip_low: float, clip_high: float):
    """sequence: PPO's clip of pi(o) / old(o), one ratio a response (DeepSeek-R1, eq. 1)."""
    ratio = sequence_log_ratio(logprobs, old_logprobs).exp()
    return grpo.clip(ratio, A, clip_low, clip_high)


def sequence_mean(logprobs, old_logprobs, A, lengths, clip_low: float, clip_high: float):
    """sequence-mean: PPO's clip of (pi(o) / old(o)) ** (1 / |o|) (GSPO, eq. 5 and 7)."""
    ratio = mean_log_ratio(logprobs, old_logprobs, lengths).exp()
    return grpo.clip(ratio, A, clip_low, clip_high)


def cispo(logprobs, old_logprobs, A, lengths, clip_low: float, clip_high: float):
    """cispo: sg(clip(ratio_t, 1 - low, 1 + high)) A log pi(o_t) (MiniMax-M1, eq. 4 and 5).

    The bound holds the weight alone, so that every token keeps a gradient.
    """
    ratio = (logprobs - old_logprobs).exp().detach()
    weight = ratio.clamp(1 - clip_low, 1 + clip_high)
    return weight * A * logprobs, weight != ratio


def truncated_weight(old_logprobs, sampler_logprobs) -> torch.Tensor:
    """tis: min(old(o_t) / sampler(o_t), 2) [B, T], which advantages are multiplied with.

    It corrects for a sampler that computes other probabilities than the trainer: old is the
    trainer's at the beginning of the step (oat's truncated importance sampling).
    """
    return (old_logprobs - sampler_logprobs).exp().clamp(max=TIS_MOST).detach()


SURROGATES = {
    "none": log_likelihood,
    "unclipped": unclipped,
    "token": grpo.token_surrogate,
    "sequence": sequence,
    "sequence-mean": sequence_mean,
    "cispo": cispo,
    "tis": grpo.token_surrogate,
}


def log_ratio(logprobs, old_logprobs, lengths, importance: str) -> torch.Tensor:
    """log of the ratio that a kind of importance looks at, for each token, [B, T]."""
    if importance == "sequence":
        return sequence_log_ratio(logprobs, old_logprobs).expand(logprobs.shape)
    if importance == "sequence-mean":
        return mean_log_ratio(logprobs, old_logprobs, lengths).expand(logprobs.shape)
    return logprobs - old_logprobs


# ---------------------------------------------------------------- the KL term

# No token's k3 counts for more, and beyond it has no gradient (verl, and so Logic-RL).
K3_MOST = 10.0


def kl_estimate(logprobs, ref_logprobs, kind: str, most: float = K3_MOST) -> torch.Tensor:
    """Estimates of KL(pi || ref) from samples of pi, in the shape of the log-probs.

    k1 = log pi/ref, unbiased, can be negative; as a *loss* its on-policy expected gradient is 0.
    k2 = k1^2 / 2. k3 = ref/pi - 1 - log ref/pi: never negative, what DeepSeekMath puts into the
    loss; `most` bounds it. J. Schulman, "Approximating KL divergence", 2020.
    """
    difference = ref_logprobs - logprobs
    if kind == "k1":
        return -difference
    if kind == "k2":
        return difference.square() / 2
    assert kind == "k3", kind
    return (difference.clamp(max=LOG_RATIO_MOST).exp() - 1 - difference).clamp(max=most)


def kl_of(logprobs, ref_logprobs, kind: str, level: str) -> torch.Tensor:
    """The KL estimate of each token [B, T], or of whole responses [B, 1] (DeepSeek-R1, eq. 2)."""
    if level == "token":
        return kl_estimate(logprobs, ref_logprobs, kind)
    assert level == "sequence", level
    whole = logprobs.sum(dim=1, keepdim=True)
    return kl_estimate(whole, ref_logprobs.sum(dim=1, keepdim=True), kind, most=math.inf)


# ---------------------------------------------------------------- the loss


def policy_loss(
    logprobs,
    old_logprobs,
    advantage,
    lengths,
    estimator: Estimator,
    step: Denominators,
    ref_logprobs=None,
    kl_coef: float = 0.0,
    kl_kind: str = "k3",
    entropy=None,
    entropy_coef: float = 0.0,
    sampler_logprobs=None,
):
    """The loss of a micro-batch, and what to log of it.

        loss = sum_t w_t (-m_t + kl_coef KL_t - entropy_coef H_t)

    with the weights w of the normaliser, m of the importance and H the entropy of the policy at t,
    through which the gradient goes (the bonus of A3C, arXiv 1602.01783; weighted as verl does).

    logprobs, old_logprobs, ref_logprobs, entropy, sampler_logprobs: [B, T], 0 beyond a row's
    length; advantage: [B] or [B, T]; lengths: [B]. sampler_logprobs: for tis alone, where
    old_logprobs are the trainer's. Returns (scalar loss, {"clipped": tokens, "kl": summed
    estimate}), tensors, sums over response tokens; the KL of a sequence counts at each of its own.
    """
    B, T = logprobs.shape
    if estimator.importance == "tis":
        A = advantage if advantage.dim() == 2 else advantage[:, None]
        advantage = A * truncated_weight(old_logprobs, sampler_logprobs)
    total, log = grpo.policy_loss(
        logprobs,
        old_logprobs,
        advantage,
        lengths,
        estimator,
        step,
        estimator.clip_low,
        estimator.clip_high,
        SURROGATES[estimator.importance],
    )
    log["kl"] = total.new_zeros(())
    weights = grpo.token_weights(lengths, T, estimator.normaliser, step)
    if kl_coef:
        estimate = kl_of(logprobs, ref_logprobs, kl_kind, estimator.kl_level)
        total = total + kl_coef * (estimate * weights).sum()
        log["kl"] = (estimate.detach() * (weights > 0)).sum()
    if entropy_coef:
        total = total - entropy_coef * (entropy * weights).sum()
    return total, log


# ---------------------------------------------------------------- responses that are too long


def overlong_penalty(lengths: torch.Tensor, max_new_tokens: int, buffer: int) -> torch.Tensor:
    """What is added to the rewards of long responses: lengths of any shape to the same shape.

    0 up to L - buffer tokens, then falling in a line to -1 at L = max_new_tokens (DAPO, arXiv
    2503.14476, eq. 13, "soft overlong punishment").
    """
    into_buffer = lengths - (max_new_tokens - buffer)
    return -into_buffer.clamp(0, buffer) / buffer

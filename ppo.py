"""PPO, the critic's way: a value for each token, and advantages that are made of values.

Formulas first, tensors in, tensors out; then the critic.

Shapes: B rollouts, T tokens of the longest response, N response tokens of some rollouts one after
the other, C hidden size. Rows have lengths; what stands beyond them, if it is finite, is not read,
and what is returned is 0 there.

    r_t     = -kl_coef log(old(o_t) / ref(o_t)), and the reward at the last token
    delta_t = r_t + gamma V_t+1 - V_t
    A_t     = delta_t + gamma lambda A_t+1
    R_t     = A_t + V_t
    loss    = -mean_t min(ratio_t A_t, clip(ratio_t, 1 - low, 1 + high) A_t)
              + value_coef mean_t max((v_t - R_t)^2, (clip(v_t, V_t - eps, V_t + eps) - R_t)^2)

V_t is what the critic said of the state that predicts token t, before the step's first update; v_t
is what it says now. Beyond the last token there is nothing to come: V is 0. The policy's part of
the loss is that of grpo.py, with an advantage of each token's own.

PPO: arXiv 1707.06347; GAE: 1506.02438; a KL in the reward: InstructGPT, 2203.02155, eq. 2.
"""

import copy

import torch
from torch import nn

import grpo
import model as lm

WHITEN_EPS = 1e-8  # in units of the advantages: nearly equal ones are not divided by zero


def in_responses(lengths: torch.Tensor, T: int) -> torch.Tensor:
    """Which places of rows [B, T] belong to responses: bool [B, T]."""
    return torch.arange(T, device=lengths.device) < lengths[:, None]


def shaped_rewards(rewards, lengths, kl, kl_coef: float):
    """The reward of each token [B, T]: of the last one what the response earned, less the KL.

    rewards: [B]; kl: [B, T], k1 = log old(o_t) - log ref(o_t) of each token, or zeros. With gamma 1
    their sum over a response is its reward less kl_coef times its sampled KL, the objective of
    InstructGPT (arXiv 2203.02155, eq. 2).
    """
    B, T = kl.shape
    assert rewards.shape == lengths.shape == (B,)
    of_tokens = (-kl_coef * kl).masked_fill(~in_responses(lengths, T), 0.0)
    last = lengths - 1  # the stop token, or the last one before the limit
    of_tokens[torch.arange(B, device=lengths.device), last] += rewards
    return of_tokens


def gae(rewards, values, lengths, gamma: float, gae_lambda: float):
    """Generalised advantage estimation (arXiv 1506.02438, eq. 16): (advantages, returns) [B, T].

    rewards, values: [B, T], of each token and of the state that predicts it. A_t is the sum over
    k >= 0 of (gamma lambda)^k delta_t+k, up to the row's end. The returns are what values should
    have been: at lambda 1 the discounted rewards to come, at lambda 0 r_t + gamma V_t+1.
    """
    B, T = rewards.shape
    assert values.shape == (B, T) and lengths.shape == (B,)
    beyond = ~in_responses(lengths, T)
    rewards = rewards.masked_fill(beyond, 0.0)
    values = values.masked_fill(beyond, 0.0)
    advantages = torch.zeros_like(values)
    next_value = values.new_zeros(B)
    next_advantage = values.new_zeros(B)
    for t in reversed(range(T)):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        advantages[:, t] = delta + gamma * gae_lambda * next_advantage
        next_value = values[:, t]
        next_advantage = advantages[:, t]
    return advantages, advantages + values


def whiten(advantages, lengths):
    """Advantages [B, T] less their mean over all response tokens, over their standard deviation.

    The standard deviation is the unbiased one. Not in PPO's paper; from its authors' code
    ("advantage normalization", OpenAI baselines, ppo2), which does it in each minibatch; here it is
    over the whole step, so that no cut changes it. Equal advantages get 0.
    """
    mask = in_responses(lengths, advantages.shape[1])
    inside = advantages[mask]
    if (inside == inside[0]).all():
        return torch.zeros_like(advantages)
    white = (advantages - inside.mean()) / (inside.std(unbiased=True) + WHITEN_EPS)
    return white.masked_fill(~mask, 0.0)


def value_loss(values, old_values, returns, lengths, normaliser, step, value_clip: float):
    """The critic's loss of a micro-batch, and the number of tokens whose value the clip holds.

    values, with gradient, old_values, returns: [B, T]. The squared error (arXiv 1707.06347, eq. 9),
    of the value or of one at most `value_clip` away from the old one, whichever error is larger
    (as in OpenAI baselines, ppo2); 0 is no clip. Its weights are those of the policy's loss.
    """
    B, T = values.shape
    assert old_values.shape == returns.shape == (B, T) and lengths.shape == (B,)
    weights = grpo.token_weights(lengths, T, normaliser, step)
    error = (values - returns).square()
    held = torch.zeros_like(weights, dtype=torch.bool)
    if value_clip:
        near = old_values + (values - old_values).clamp(-value_clip, value_clip)
        clipped_error = (near - returns).square()
        held = (clipped_error > error) & (weights > 0)
        error = torch.maximum(error, clipped_error)
    return (error * weights).sum(), held.sum()


def loss(
    logprobs,
    old_logprobs,
    advantages,
    lengths,
    values,
    old_values,
    returns,
    entropy,
    step: grpo.Denominators,
    config,
):
    """PPO's loss of a micro-batch (arXiv 1707.06347, eq. 9), and what to log of it.

        policy's clipped loss + value_coef * value loss - entropy_coef * entropy

    all weighted alike. All tensors but lengths [B] are [B, T]; config: a train.TrainConfig.
    """
    choice = config.estimator
    total, log = grpo.policy_loss(
        logprobs,
        old_logprobs,
        advantages,
        lengths,
        choice,
        step,
        choice.clip_low,
        choice.clip_high,
    )
    of_values, log["value_clipped"] = value_loss(
        values, old_values, returns, lengths, choice.normaliser, step, config.value_clip
    )
    log["value_loss"] = of_values.detach()
    total = total + config.value_coef * of_values
    if config.entropy_coef:
        weights = grpo.token_weights(lengths, logprobs.shape[1], choice.normaliser, step)
        total = total - config.entropy_coef * (entropy * weights).sum()
    return total, log


def explained_variance(values, returns, lengths) -> float | None:
    """1 - Var(R - V) / Var(R) over response tokens; None where all returns are equal.

    1 is a perfect critic, 0 one that knows no more than a constant, below 0 it is worse.
    """
    mask = in_responses(lengths, values.shape[1])
    wanted = returns[mask]
    spread = wanted.var(unbiased=False)
    if spread == 0:
        return None
    return (1 - (wanted - values[mask]).var(unbiased=False) / spread).item()


# ---------------------------------------------------------------- the critic


class Critic(nn.Module):
    """A value for each state: a scalar head on hidden states.

    shared: on those of the policy, so that the value loss trains the policy's layers too; what is
    the critic's own is the head. own: on those of a transformer of the same shape, which begins
    with the policy's weights. The head begins at 0, and so do all values.
    """

    def __init__(self, policy: lm.Transformer, kind: str):
        super().__init__()
        self.body = None
        if kind == "own":
            self.body = copy.deepcopy(policy)
            if not policy.config.tie_word_embeddings:
                del self.body.lm_head  # nobody asks it for ids
        self.head = nn.Linear(policy.config.hidden_size, 1, bias=False, device=policy.device)
        nn.init.zeros_(self.head.weight)

    @property
    def device(self) -> torch.device:
        return self.head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The compute type."""
        return self.head.weight.dtype

    def forward(self, states):
        """The head alone: hidden states [N, C] of body or policy to values [N], in fp32."""
        return (states.float() @ self.head.weight.float().T)[:, 0]

"""OneZero's functions behind the names that the public tests of CS336's assignment 5 call.

The tests are Stanford's (stanford-cs336/assignment5-alignment) and are not here; docs/grader.md says
how they are run on this file, which takes the place of their `tests/adapters.py`. What this project
has no function for is skipped.
"""

import pytest
import torch

import estimators
import grpo
import model as lm
import reward


def not_ours(*args, **settings):
    pytest.skip("OneZero has no function of its own for this")


# ---------------------------------------------------------------- rewards and advantages


def run_compute_group_normalized_rewards(
    reward_fn,
    rollout_responses,
    repeated_ground_truths,
    group_size,
    advantage_eps,
    normalize_by_std,
):
    """(advantages [P * G], rewards [P * G], {}); ours has one epsilon, theirs is asked to be it."""
    assert advantage_eps == grpo.STD_EPS
    earned = []
    for response, answer in zip(rollout_responses, repeated_ground_truths, strict=True):
        earned.append(reward_fn(response, answer)["reward"])
    rewards = torch.tensor(earned)
    groups = rewards.view(-1, group_size)
    return grpo.advantages(groups, normalize_by_std).flatten(), rewards, {}


def run_parse_gsm8k_response(model_output):
    return reward.last_number(model_output)


# ---------------------------------------------------------------- losses


def run_compute_naive_policy_gradient_loss(raw_rewards_or_advantages, policy_log_probs):
    """The loss of each token [B, T] without a ratio."""
    A = raw_rewards_or_advantages
    objective, _ = estimators.log_likelihood(policy_log_probs, None, A, None, 0.0, 0.0)
    return -objective


def run_compute_grpo_clip_loss(advantages, policy_log_probs, old_log_probs, cliprange):
    """(the loss of each token [B, T], {})"""
    objective, _ = grpo.token_surrogate(
        policy_log_probs, old_log_probs, advantages, None, cliprange, cliprange
    )
    return -objective, {}


def run_compute_policy_gradient_loss(
    policy_log_probs, loss_type, raw_rewards, advantages, old_log_probs, cliprange
):
    """(the loss of each token [B, T], {})"""
    if loss_type == "no_baseline":
        return run_compute_naive_policy_gradient_loss(raw_rewards, policy_log_probs), {}
    if loss_type == "reinforce_with_baseline":
        return run_compute_naive_policy_gradient_loss(advantages, policy_log_probs), {}
    assert loss_type == "grpo_clip", loss_type
    return run_compute_grpo_clip_loss(advantages, policy_log_probs, old_log_probs, cliprange)


def run_grpo_microbatch_train_step(
    policy_log_probs,
    response_mask,
    gradient_accumulation_steps,
    loss_type,
    raw_rewards=None,
    advantages=None,
    old_log_probs=None,
    cliprange=None,
):
    """(loss, {}) of a micro-batch, after its backward pass; a mean over tokens, then over rows."""
    if loss_type != "grpo_clip":
        not_ours()
    rows = len(policy_log_probs) * gradient_accumulation_steps
    loss, _ = grpo.policy_loss(
        response_first(policy_log_probs, response_mask),
        response_first(old_log_probs, response_mask),
        advantages.flatten(),
        response_mask.sum(dim=1),
        grpo.Loss(divide_by_std=False, normaliser="sequence_mean"),
        grpo.Denominators(rows, tokens=int(response_mask.sum()), max_new_tokens=1),
        clip_low=cliprange,
        clip_high=cliprange,
    )
    loss.backward()
    return loss, {}


def run_sft_microbatch_train_step(
    policy_log_probs, response_mask, gradient_accumulation_steps, normalize_constant=1.0
):
    """(loss, {}) of a micro-batch, after its backward pass: every response has the advantage 1."""
    rows = len(policy_log_probs) * gradient_accumulation_steps
    logprobs = response_first(policy_log_probs, response_mask)
    loss, _ = grpo.policy_loss(
        logprobs,
        logprobs.detach(),
        torch.ones(len(policy_log_probs)),
        response_mask.sum(dim=1),
        grpo.Loss(divide_by_std=False, normaliser="constant"),
        grpo.Denominators(rows, int(response_mask.sum()), max_new_tokens=normalize_constant),
        surrogate=estimators.log_likelihood,
    )
    loss.backward()
    return loss, {}


def response_first(values, mask):
    """Values [B, T] whose masked ones stand first in their rows, 0 beyond: our rows have lengths."""
    order = mask.int().argsort(dim=1, descending=True, stable=True)
    return (values * mask).gather(1, order)


# ---------------------------------------------------------------- distributions


def run_compute_entropy(logits):
    """The entropy of the last dimension [B, T]."""
    B, T, V = logits.shape
    ids = torch.zeros(B * T, dtype=torch.long)
    _, entropy = lm.PickedLogprobs.apply(logits.view(B * T, V), ids, 1.0)
    return entropy.view(B, T)


# ---------------------------------------------------------------- none of ours

run_get_response_log_probs = not_ours
run_tokenize_prompt_and_output = not_ours
run_masked_mean = not_ours
run_masked_normalize = not_ours
run_parse_mmlu_response = not_ours
run_compute_per_instance_dpo_loss = not_ours
get_packed_sft_dataset = not_ours
run_iterate_batches = not_ours

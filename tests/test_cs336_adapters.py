"""The adapters of CS336's assignment 5 against its formulas, so that they still fit when its tests are run."""

import cs336_adapters as adapters
import pytest
import torch

LOGPROBS = torch.tensor([[-1.0, -2.0, -0.5], [-0.2, -3.0, -1.0]])
OLD = torch.tensor([[-1.2, -1.0, -0.5], [-0.7, -3.1, -1.3]])
A = torch.tensor([[1.0], [-2.0]])


def clip_loss(logprobs, cliprange):
    ratio = (logprobs - OLD).exp()
    return -torch.minimum(ratio * A, ratio.clamp(1 - cliprange, 1 + cliprange) * A)


@pytest.mark.parametrize("cliprange", [0.1, 10.0])
def test_the_clipped_loss_of_each_token(cliprange):
    loss, _ = adapters.run_compute_grpo_clip_loss(A, LOGPROBS, OLD, cliprange)
    torch.testing.assert_close(loss, clip_loss(LOGPROBS, cliprange))
    again, _ = adapters.run_compute_policy_gradient_loss(
        LOGPROBS, "grpo_clip", None, A, OLD, cliprange
    )
    assert torch.equal(loss, again)
    assert not torch.allclose(loss, clip_loss(LOGPROBS, 0.05))


def test_a_micro_batch_with_holes_in_its_mask():
    mask = torch.tensor([[True, False, True], [False, True, False]])
    ours = LOGPROBS.clone().requires_grad_()
    loss, _ = adapters.run_grpo_microbatch_train_step(
        ours, mask, 2, "grpo_clip", None, A, OLD, cliprange=0.1
    )
    theirs = LOGPROBS.clone().requires_grad_()
    rows = (clip_loss(theirs, 0.1) * mask).sum(dim=1) / mask.sum(dim=1)
    expected = rows.mean() / 2
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)
    assert ours.grad[1, 1] != 0


def test_losses_without_a_ratio():
    for loss_type, values in (("no_baseline", A + 3), ("reinforce_with_baseline", A)):
        loss, _ = adapters.run_compute_policy_gradient_loss(
            LOGPROBS, loss_type, A + 3, A, OLD, cliprange=0.1
        )
        torch.testing.assert_close(loss, -values * LOGPROBS)


def test_a_supervised_micro_batch():
    mask = torch.tensor([[True, False, True], [False, True, False]])
    ours = LOGPROBS.clone().requires_grad_()
    loss, _ = adapters.run_sft_microbatch_train_step(ours, mask, 2, normalize_constant=5.0)
    assert loss.item() == pytest.approx((1.0 + 0.5 + 3.0) / 5 / 2 / 2)
    torch.testing.assert_close(ours.grad, -mask.float() / 5 / 2 / 2)


def test_advantages_entropy_and_the_last_number():
    found, raw, _ = adapters.run_compute_group_normalized_rewards(
        lambda response, answer: {"reward": float(response == answer)},
        ["1", "2", "2", "3"],
        ["1", "1", "2", "3"],
        group_size=2,
        advantage_eps=1e-6,
        normalize_by_std=False,
    )
    assert found.tolist() == [0.5, -0.5, 0.0, 0.0] and raw.tolist() == [1, 0, 1, 1]
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    entropy = torch.distributions.Categorical(logits=logits).entropy()
    torch.testing.assert_close(adapters.run_compute_entropy(logits), entropy)
    assert adapters.run_parse_gsm8k_response("in May 24, in all 72 clips.") == "72"
    assert adapters.run_parse_gsm8k_response("seventy-two") is None


def test_what_is_not_ours_is_skipped():
    with pytest.raises(pytest.skip.Exception, match="no function of its own"):
        adapters.run_masked_mean(LOGPROBS, LOGPROBS > 0)

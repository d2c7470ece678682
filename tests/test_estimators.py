"""Other people's losses, written out from their formulas one token at a time, agree with ours.

Each agreement holds for loss and gradient, on a hundred random draws. What is written out shares no
line with the code: rows are lists, sums are loops, and nothing is padded.
"""

import math
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import estimators
import grpo
import reward
import train
from config import UserError
from estimators import PRESETS, Estimator, choose

DRAWS = int(os.environ.get("DRAWS", 100))


def close(a, b, tolerance=1e-6):
    """Equal within a tolerance relative to the larger of the two; a zero equals only a zero."""
    a = torch.as_tensor(a, dtype=torch.float64).detach()
    b = torch.as_tensor(b, dtype=torch.float64).detach()
    assert a.shape == b.shape and torch.isfinite(a).all()
    largest = max(a.abs().max(), b.abs().max())
    assert (a - b).abs().max() <= tolerance * largest, f"{a} != {b}"


def drawn(seed: int, spread: float = 0.3) -> SimpleNamespace:
    """A step of random log-probs in double precision, of rows of unequal lengths.

    spread: of the log-ratios, so that some are within the usual clip and some beyond.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    B = int(torch.randint(2, 6, (1,), generator=generator))
    lengths = torch.randint(1, 8, (B,), generator=generator)
    T = int(lengths.max())
    mask = torch.arange(T) < lengths[:, None]
    old = (-normal(B, T).abs()) * mask
    logprobs = (old + spread * normal(B, T)) * mask
    return SimpleNamespace(
        B=B,
        T=T,
        limit=T + int(torch.randint(0, 5, (1,), generator=generator)),
        lengths=lengths,
        n=lengths.tolist(),
        mask=mask,
        logprobs=logprobs.requires_grad_(),
        old=old,
        ref=(old + spread * normal(B, T)) * mask,
        sampler=(old + spread * normal(B, T)) * mask,
        entropy=(normal(B, T).abs() * mask).requires_grad_(),
        A=normal(B),
        A_of_tokens=normal(B, T),
    )


def ours(step, estimator, advantage=None, **more):
    """Our loss of a draw."""
    if advantage is None:
        advantage = step.A
    counted = grpo.Denominators(step.B, sum(step.n), step.limit)
    given = (step.logprobs, step.old, advantage, step.lengths, estimator, counted)
    return estimators.policy_loss(*given, **more)


def agree(our_loss, their_loss, step, also=()):
    """Our loss and theirs, and their gradients by each token's log-prob, are the same."""
    # The loss is a sum of terms of either sign, about 1 each.
    assert abs(our_loss.item() - their_loss.item()) <= 1e-6
    for leaf in (step.logprobs, *also):
        (mine,) = torch.autograd.grad(our_loss, leaf, retain_graph=True)
        (other,) = torch.autograd.grad(their_loss, leaf, retain_graph=True)
        close(mine * step.mask, other * step.mask)


def test_the_comparison_itself_fails_on_zeros_negation_half_and_double():
    step = drawn(0)
    loss, _ = ours(step, PRESETS["grpo"])
    agree(loss, loss.clone(), step)
    for wrong in (loss * 0, -loss, loss / 2, loss * 2, loss + 1, (step.logprobs * 1).sum()):
        with pytest.raises(AssertionError):
            agree(loss, wrong, step)


# ---------------------------------------------------------------- written out


def ppo_token(step, i, t, low, high, A=None):
    """PPO's clipped loss of one token (to be made small)."""
    A = step.A[i] if A is None else A
    ratio = torch.exp(step.logprobs[i, t] - step.old[i, t])
    held = min(max(ratio.item(), 1 - low), 1 + high)
    within = 1 - low <= ratio.item() <= 1 + high
    clipped = ratio if within else torch.tensor(held, dtype=torch.float64)
    return torch.maximum(-A * ratio, -A * clipped)


def table(step, low=0.2, high=0.2):
    """PPO's loss of each token: a list of rows."""
    return [[ppo_token(step, i, t, low, high) for t in range(step.n[i])] for i in range(step.B)]


def k3_token(step, i, t):
    """The third estimate of a token's KL divergence."""
    quotient = torch.exp(step.ref[i, t]) / torch.exp(step.logprobs[i, t])
    return quotient - torch.log(quotient) - 1


def over_sequence(values):
    return sum(values[1:], start=values[0])


OAT = {
    # oat/algorithms/ppo.py: masked_mean over the row, or masked_sum over generate_max_length.
    "grpo": lambda row, step: over_sequence(row) / len(row),
    "dr_grpo": lambda row, step: over_sequence(row) / step.limit,
}


@pytest.mark.parametrize("name", OAT)
def test_oat(name):
    for seed in range(DRAWS):
        step = drawn(seed)
        theirs = sum(OAT[name](row, step) for row in table(step)) / step.B
        agree(ours(step, PRESETS[name])[0], theirs, step)


def test_oats_advantages():
    """Theirs adds 1e-8 to the standard deviation, ours 1e-6."""
    for seed in range(DRAWS):
        rewards = torch.rand(3, 5, generator=torch.Generator().manual_seed(seed)).double().round()
        rewards[:, 0] = 1 - rewards[:, 1]  # no group of equal rewards
        for group, by_std, plain in zip(
            rewards.tolist(),
            estimators.advantages(rewards, rewards, PRESETS["grpo"]),
            estimators.advantages(rewards, rewards, PRESETS["dr_grpo"]),
        ):
            mean = sum(group) / len(group)
            variance = sum((r - mean) ** 2 for r in group) / (len(group) - 1)
            close(plain, [r - mean for r in group])
            close(by_std, [(r - mean) / (math.sqrt(variance) + 1e-6) for r in group])


def verl(mode, rows, step):
    """agg_loss of verl/trainer/ppo/core_algos.py."""
    every = [value for row in rows for value in row]
    sums = [over_sequence(row) for row in rows]
    if mode == "token-mean":
        return over_sequence(every) / len(every)
    if mode == "seq-mean-token-sum":
        return over_sequence(sums) / len(rows)
    if mode == "seq-mean-token-mean":
        return over_sequence([s / len(row) for s, row in zip(sums, rows)]) / len(rows)
    assert mode == "seq-mean-token-sum-norm"
    return over_sequence(sums) / step.limit  # theirs: the padded length


@pytest.mark.parametrize(
    "mode,normaliser,rows",
    [
        ("token-mean", "token_mean", False),
        ("seq-mean-token-sum", "sequence_sum", False),
        ("seq-mean-token-mean", "sequence_mean", False),
        ("seq-mean-token-sum-norm", "constant", True),
    ],
)
def test_verls_four_aggregations(mode, normaliser, rows):
    """The last one is ours times B: it has no mean over the rows."""
    for seed in range(DRAWS):
        step = drawn(seed)
        times = step.B if rows else 1
        loss, _ = ours(step, choose("grpo", normaliser=normaliser))
        agree(loss * times, verl(mode, table(step), step), step)


def trl(kind, rows, step):
    """The four losses of TRL's GRPOTrainer that differ in their normaliser; one process."""
    if kind == "grpo":
        return sum(over_sequence(row) / len(row) for row in rows) / len(rows)
    total = sum(over_sequence(row) for row in rows)
    if kind == "dr_grpo":
        return total / (len(rows) * step.limit)
    assert kind in ("bnpo", "dapo")
    return total / sum(step.n)


@pytest.mark.parametrize(
    "kind,name",
    [("grpo", "grpo"), ("dr_grpo", "dr_grpo"), ("dapo", "dapo"), ("bnpo", "token_mean")],
)
def test_trl(kind, name):
    """With their KL term; dapo's tokens are those of the whole step, bnpo's of a local batch."""
    high = 0.28 if kind == "dapo" else 0.2
    for seed in range(DRAWS):
        step = drawn(seed)
        rows = table(step, 0.2, high)
        for i, row in enumerate(rows):
            for t in range(len(row)):
                row[t] = row[t] + 0.04 * k3_token(step, i, t)
        loss, log = ours(step, PRESETS[name], ref_logprobs=step.ref, kl_coef=0.04)
        agree(loss, trl(kind, rows, step), step)
        kl = [k3_token(step, i, t).item() for i in range(step.B) for t in range(step.n[i])]
        assert log["kl"].item() == pytest.approx(sum(kl))


def whole(step, values, i):
    """The log-probability of a response, from those of its tokens."""
    return over_sequence([values[i, t] for t in range(step.n[i])])


def ppo_sequence(ratio, A, low, high):
    """What PPO makes large, of one ratio."""
    if A >= 0:
        return A * (ratio if ratio <= 1 + high else torch.tensor(1.0 + high).double())
    return A * (ratio if ratio >= 1 - low else torch.tensor(1.0 - low).double())


@pytest.mark.parametrize("spread", [0.001, 0.3])
def test_gspo(spread):
    clipped = 0
    for seed in range(DRAWS):
        step = drawn(seed, spread)
        theirs = 0 * step.logprobs.sum()  # every ratio may be clipped
        for i in range(step.B):
            quotient = torch.exp(whole(step, step.logprobs, i)) / torch.exp(
                whole(step, step.old, i)
            )
            likelihood = quotient ** (1 / step.n[i])
            theirs = theirs - ppo_sequence(likelihood, step.A[i], 3e-4, 4e-4) / step.B
            if likelihood > 1 + 4e-4 and step.A[i] > 0 or likelihood < 1 - 3e-4 and step.A[i] < 0:
                clipped += step.n[i]
        loss, log = ours(step, PRESETS["gspo"])
        agree(loss, theirs, step)
        clipped -= log["clipped"].item()
    assert clipped == 0


def test_cispo():
    for seed in range(DRAWS):
        step = drawn(seed, 1.0)
        theirs = 0
        held = 0
        for i in range(step.B):
            for t in range(step.n[i]):
                ratio = math.exp(step.logprobs[i, t].item() - step.old[i, t].item())
                held += ratio > 5
                theirs = theirs - min(ratio, 5) * step.A[i] * step.logprobs[i, t] / sum(step.n)
        loss, log = ours(step, PRESETS["cispo"])
        agree(loss, theirs, step)
        assert log["clipped"] == held
        loss, _ = ours(step, choose("cispo", clip_low=0.5))  # MiniMax-M1's lower bound, if wanted
        theirs = 0
        for i in range(step.B):
            for t in range(step.n[i]):
                ratio = math.exp(step.logprobs[i, t].item() - step.old[i, t].item())
                weight = min(max(ratio, 0.5), 5)
                theirs = theirs - weight * step.A[i] * step.logprobs[i, t] / sum(step.n)
        agree(loss, theirs, step)


def test_r1s_equations_1_and_2():
    for seed in range(DRAWS):
        step = drawn(seed)
        theirs = 0
        every = 0.0
        for i in range(step.B):
            policy, old, ref = (whole(step, x, i) for x in (step.logprobs, step.old, step.ref))
            objective = ppo_sequence(torch.exp(policy) / torch.exp(old), step.A[i], 0.2, 0.2)
            quotient = torch.exp(ref) / torch.exp(policy)
            divergence = quotient - torch.log(quotient) - 1
            theirs = theirs - (objective - 0.001 * divergence) / step.B
            every += divergence.item() * step.n[i]
        loss, log = ours(step, PRESETS["r1"], ref_logprobs=step.ref, kl_coef=0.001)
        agree(loss, theirs, step)
        assert log["kl"].item() == pytest.approx(every)


def test_reinforce_and_the_unclipped_ratio():
    for seed in range(DRAWS):
        step = drawn(seed)
        likelihood = 0
        surrogate = 0
        for i in range(step.B):
            for t in range(step.n[i]):
                share = step.A[i] / step.B / step.limit
                likelihood = likelihood - share * step.logprobs[i, t]
                quotient = torch.exp(step.logprobs[i, t]) / torch.exp(step.old[i, t])
                surrogate = surrogate - share * quotient
        for choice, theirs in (("none", likelihood), ("unclipped", surrogate)):
            loss, log = ours(step, choose("dr_grpo", importance=choice))
            agree(loss, theirs, step)
            assert log == {"clipped": 0, "kl": 0.0}


def test_truncated_importance_sampling():
    """oat multiplies each token's loss with exp(trainer - sampler), at most 2, before the update."""
    for seed in range(DRAWS):
        step = drawn(seed, 0.6)
        theirs = 0
        for i in range(step.B):
            for t in range(step.n[i]):
                weight = min(math.exp((step.old[i, t] - step.sampler[i, t]).item()), 2)
                theirs = theirs + weight * ppo_token(step, i, t, 0.2, 0.2) / step.limit / step.B
        loss, _ = ours(step, choose("dr_grpo", importance="tis"), sampler_logprobs=step.sampler)
        agree(loss, theirs, step)
    # The weight is a number, whatever its log-probs are.
    assert not estimators.truncated_weight(step.logprobs, step.sampler).requires_grad


def test_advantages_of_each_token():
    """[B, T] as PPO has them; one for the whole response is the same number at each token."""
    for seed in range(DRAWS):
        step = drawn(seed)
        theirs = 0
        held = 0
        for i in range(step.B):
            for t in range(step.n[i]):
                A = step.A_of_tokens[i, t]
                ratio = math.exp(step.logprobs[i, t].item() - step.old[i, t].item())
                held += (A > 0 and ratio > 1.2) or (A < 0 and ratio < 0.8)
                theirs = theirs + ppo_token(step, i, t, 0.2, 0.2, A) / step.n[i] / step.B
        loss, log = ours(step, PRESETS["grpo"], step.A_of_tokens)
        agree(loss, theirs, step)
        assert log["clipped"] == held
        for importance in estimators.SURROGATES:
            estimator = choose("grpo", importance=importance)
            more = dict(sampler_logprobs=step.sampler)
            one, _ = ours(step, estimator, step.A, **more)
            agree(one, ours(step, estimator, step.A[:, None].expand(-1, step.T), **more)[0], step)


def test_the_entropy_bonus_has_the_weights_of_the_loss():
    for seed in range(DRAWS):
        step = drawn(seed)
        loss, _ = ours(step, PRESETS["dapo"], entropy=step.entropy, entropy_coef=0.1)
        theirs = sum(over_sequence(row) for row in table(step, 0.2, 0.28)) / sum(step.n)
        for i in range(step.B):
            for t in range(step.n[i]):
                theirs = theirs - 0.1 * step.entropy[i, t] / sum(step.n)
        agree(loss, theirs, step, also=[step.entropy])


@pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
@pytest.mark.parametrize("level", ["token", "sequence"])
def test_kl_estimates(kind, level):
    def estimate(policy, ref):
        difference = policy - ref
        if kind == "k1":
            return difference
        if kind == "k2":
            return difference * difference / 2
        return torch.exp(-difference) - 1 + difference

    for seed in range(DRAWS):
        step = drawn(seed)
        theirs = sum(over_sequence(row) / len(row) for row in table(step)) / step.B
        for i in range(step.B):
            if level == "sequence":
                divergence = estimate(whole(step, step.logprobs, i), whole(step, step.ref, i))
                theirs = theirs + 0.3 * divergence / step.B
                continue
            for t in range(step.n[i]):
                divergence = estimate(step.logprobs[i, t], step.ref[i, t])
                theirs = theirs + 0.3 * divergence / step.n[i] / step.B
        estimator = choose("grpo", kl_level=level)
        agree(
            ours(step, estimator, ref_logprobs=step.ref, kl_coef=0.3, kl_kind=kind)[0], theirs, step
        )


def test_k3_of_a_token_is_at_most_10_and_of_a_sequence_has_a_slope_however_far():
    """verl's low_var_kl clamps at 10; beyond, a token has no slope."""
    policy = torch.tensor([[0.0, -2.0, -4.0, -30.0, -200.0, 15.0]], requires_grad=True)
    kl = estimators.kl_estimate(policy, torch.zeros(1, 6), "k3")
    kl.sum().backward()
    close(kl[0, 1], math.exp(2) - 3)
    assert kl[0, 2:].tolist() == [10.0] * 4
    close(policy.grad[0, 1], 1 - math.exp(2))
    assert policy.grad[0, 2:].tolist() == [0.0] * 4 and kl[0, 0] == policy.grad[0, 0] == 0
    for above, value, slope in ((-30.0, math.exp(20) + 29, 1.0), (18.0, 17.0, 1.0)):
        one = torch.tensor([[above]], requires_grad=True)
        found = estimators.kl_of(one, torch.zeros(1, 1), "k3", "sequence")
        found.backward()
        close(found, [[value - 60 if above < 0 else value + math.exp(-18)]])
        close(one.grad, [[slope if above < 0 else 1 - math.exp(-18)]])


@pytest.mark.parametrize("importance", ["sequence", "sequence-mean"])
def test_a_sequences_ratio_is_held_where_exp_would_overflow(importance):
    """At e^20 either way, above and below, without a slope there."""
    estimator = choose("grpo", importance=importance, clip_low=1.0, clip_high=1e12)
    far = 4 if importance == "sequence" else 1  # its mean over 4 tokens is the fourth part
    for each, held in ((30.0, 20.0), (-30.0, -20.0), (4.0, None), (-4.0, None)):
        logprobs = torch.full((1, 4), each, dtype=torch.float64, requires_grad=True)
        step = grpo.Denominators(1, 4, 4)
        given = (logprobs, torch.zeros(1, 4).double(), torch.ones(1).double(), torch.tensor([4]))
        loss, _ = estimators.policy_loss(*given, estimator, step)
        loss.backward()
        log_ratio = estimators.log_ratio(*given[:2], given[3], importance)
        expected = each * far if held is None else held
        close(log_ratio, torch.full((1, 4), expected))
        close(loss, -math.exp(expected))
        assert bool((logprobs.grad != 0).all()) == (held is None)


def test_log_ratios_are_those_of_tokens_or_of_the_response():
    for seed in range(DRAWS):
        step = drawn(seed)
        for importance in estimators.SURROGATES:
            found = estimators.log_ratio(step.logprobs, step.old, step.lengths, importance)
            for i in range(step.B):
                response = (whole(step, step.logprobs, i) - whole(step, step.old, i)).item()
                for t in range(step.n[i]):
                    expected = (step.logprobs[i, t] - step.old[i, t]).item()
                    if importance == "sequence":
                        expected = response
                    if importance == "sequence-mean":
                        expected = response / step.n[i]
                    assert found[i, t].item() == pytest.approx(expected)


def test_the_clips_default_is_0_2_on_both_sides():
    step = drawn(3)
    counted = grpo.Denominators(step.B, sum(step.n), step.limit)
    given = (step.logprobs, step.old, step.A, step.lengths, grpo.LOSSES["grpo"], counted)
    theirs = sum(over_sequence(row) / len(row) for row in table(step)) / step.B
    agree(grpo.policy_loss(*given)[0], theirs, step)
    assert (Estimator().clip_low, Estimator().clip_high) == (0.2, 0.2)
    for ratio, A, held in ((0.79, -1, 1), (0.81, -1, 0), (1.19, 1, 0), (1.21, 1, 1)):
        one = torch.tensor([[math.log(ratio)]])
        loss, log = grpo.policy_loss(
            one,
            torch.zeros(1, 1),
            torch.tensor([float(A)]),
            torch.tensor([1]),
            grpo.LOSSES["grpo"],
            grpo.Denominators(1, 1, 1),
        )
        assert log["clipped"] == held


def test_what_stands_beyond_a_rows_length_is_not_read():
    for name, preset in PRESETS.items():
        if preset.importance.startswith("sequence"):
            continue  # relies on the zeros, as grpo.py says
        step = drawn(5)
        more = dict(ref_logprobs=step.ref, kl_coef=0.1, entropy=step.entropy, entropy_coef=0.1)
        clean, log = ours(step, preset, step.A_of_tokens, **more)
        for values in (step.old, step.ref, step.A_of_tokens):
            values[~step.mask] = 3.0
        noisy, noisy_log = ours(step, preset, step.A_of_tokens, **more)
        close(noisy, clean)
        assert noisy_log["clipped"] == log["clipped"], name
        assert noisy_log["kl"].item() == pytest.approx(log["kl"].item())


def test_shapes_that_do_not_fit_are_noticed():
    step = drawn(1)
    counted = grpo.Denominators(step.B, sum(step.n), step.limit)
    fit = [step.logprobs, step.old, step.A, step.lengths]
    for place, wrong in (
        (1, step.old[:, 1:]),
        (2, step.A[1:]),
        (2, step.A[None]),
        (3, step.lengths[1:]),
    ):
        given = list(fit)
        given[place] = wrong
        with pytest.raises(AssertionError):
            grpo.policy_loss(*given, grpo.LOSSES["grpo"], counted)
    with pytest.raises(AssertionError, match="group of one"):
        grpo.advantages(torch.ones(3, 1), False)


# ---------------------------------------------------------------- advantages


def groups(seed, P=3, G=5):
    """0/1 rewards, and some for format, in double precision; (rewards, accuracy) [P, G]."""
    generator = torch.Generator().manual_seed(seed)
    accuracy = torch.randint(0, 2, (P, G), generator=generator).double()
    return accuracy + 0.1 * torch.randint(0, 2, (P, G), generator=generator), accuracy


def test_rloo_is_dr_grpo_times_g_over_g_less_1():
    for seed in range(DRAWS):
        rewards, accuracy = groups(seed)
        found = estimators.advantages(rewards, accuracy, PRESETS["rloo"])
        for i, group in enumerate(rewards.tolist()):
            for k, r in enumerate(group):
                others = group[:k] + group[k + 1 :]
                expected = r - sum(others) / len(others)
                assert found[i, k].item() == pytest.approx(expected, abs=1e-9)
        close(found, estimators.advantages(rewards, accuracy, PRESETS["dr_grpo"]) * 5 / 4)


def test_reinforce_plus_plus_and_lite_ppo_divide_by_the_spread_of_the_step():
    for seed in range(DRAWS):
        rewards, accuracy = groups(seed)
        every = rewards.flatten().tolist()
        mean = sum(every) / len(every)
        std = math.sqrt(sum((r - mean) ** 2 for r in every) / (len(every) - 1))
        plus_plus = [[(r - mean) / (std + 1e-6) for r in group] for group in rewards.tolist()]
        close(estimators.advantages(rewards, accuracy, PRESETS["reinforce++"]), plus_plus)
        lite = []
        for group in rewards.tolist():
            lite.append([(r - sum(group) / len(group)) / (std + 1e-6) for r in group])
        estimator = choose("grpo", advantage_normaliser="batch-std")
        close(estimators.advantages(rewards, accuracy, estimator), lite)
    inexact = 0
    for P in range(1, 9):
        for value in (0.1, 1 / 3, 0.7):
            equal = torch.full((P, 3), value)
            inexact += bool((equal != equal.mean()).any())
            assert not estimators.advantages(equal, equal, PRESETS["reinforce++"]).any()
    assert inexact  # means that rounding has moved: without care these had advantages


def test_maxrl_divides_by_the_share_of_right_responses():
    for seed in range(DRAWS):
        rewards, accuracy = groups(seed)
        accuracy[0] = 0
        rewards[0] = torch.tensor([0.1, 0, 0.1, 0, 0])  # nothing right: nothing to learn
        expected = []
        bare = []
        for group, right in zip(rewards.tolist(), accuracy.tolist()):
            share = sum(right) / len(right)
            mean = sum(group) / len(group)
            expected.append([(r - mean) / share if share else 0.0 for r in group])
            bare.append([r / share if share else 0.0 for r in group])
        close(estimators.advantages(rewards, accuracy, PRESETS["maxrl"]), expected)
        without = choose("maxrl", baseline="none")
        close(estimators.advantages(rewards, accuracy, without), bare)


def test_maxrl_is_refused_for_rewards_below_0():
    below = torch.tensor([[1.0, -0.5]])
    with pytest.raises(UserError, match="a reward is below 0.*MaxRL.*--reward"):
        estimators.advantages(below, below > 0, PRESETS["maxrl"])
    estimators.advantages(below, below > 0, PRESETS["grpo"])
    for name in ("simplerl", "logic_rl"):
        with pytest.raises(UserError, match=f"--reward {name}.*never negative"):
            train.TrainConfig(loss="maxrl", reward=name)
    with pytest.raises(UserError, match="--overlong-buffer.*MaxRL"):
        train.TrainConfig(loss="maxrl", overlong_buffer=4)
    with pytest.raises(UserError, match="MaxRL"):
        train.TrainConfig(advantage_normaliser="mean", reward="simplerl")
    for name in set(reward.REWARDS) - {"simplerl", "logic_rl"}:
        train.TrainConfig(loss="maxrl", reward=name)
        assert not reward.can_be_negative(name)


def test_a_reward_that_is_negative_in_one_case_alone_can_be_negative(monkeypatch):
    """For no answer at all, for one that cannot be read, for one that is wrong."""
    cases = {
        "none": lambda right, parsed, reading: (-1.0 * (reading.answer is None), 0.0),
        "unread": lambda right, parsed, reading: (0.0 if parsed else -1.0, 0.0),
        "wrong": lambda right, parsed, reading: (-1.0 * (not right and parsed), 0.0),
        "there": lambda right, parsed, reading: (-1.0 * (reading.answer is not None), 0.0),
    }
    for name, rule in cases.items():
        monkeypatch.setitem(reward.REWARDS, name, rule)
        assert reward.can_be_negative(name)


def test_rft_is_the_likelihood_of_what_is_right():
    for seed in range(DRAWS):
        rewards, accuracy = groups(seed)
        expected = [
            [r if right else 0.0 for r, right in zip(*rows)]
            for rows in zip(rewards.tolist(), accuracy.tolist())
        ]
        found = estimators.advantages(rewards, accuracy, PRESETS["rft"])
        assert found.tolist() == expected
        step = drawn(seed)
        right = (step.A > 0).double()
        theirs = 0
        for i in range(step.B):
            if step.A[i] > 0:
                theirs = theirs - whole(step, step.logprobs, i) / step.limit / step.B
        if right.any():
            agree(ours(step, PRESETS["rft"], right)[0], theirs, step)
    centred = estimators.advantages(rewards, accuracy, choose("grpo", positives_only="on"))
    whole_group = estimators.advantages(rewards, accuracy, PRESETS["grpo"])
    close(centred, whole_group * accuracy)


def test_every_baseline_with_every_normaliser():
    rewards = torch.tensor(
        [[1.0, 0.0, 0.0, 0.25], [1.0, 1.0, 1.0, 1.0], [0.0, 0.5, 0.0, 0.0]]
    ).double()
    accuracy = (rewards == 1).double()
    flat = rewards.flatten().tolist()
    mean_of_all = sum(flat) / 12
    std_of_all = math.sqrt(sum((r - mean_of_all) ** 2 for r in flat) / 11)
    for baseline in estimators.BASELINES:
        for normaliser in estimators.ADVANTAGE_NORMALISERS:
            expected = []
            for group, right in zip(rewards.tolist(), accuracy.tolist()):
                mean = sum(group) / 4
                std = math.sqrt(sum((r - mean) ** 2 for r in group) / 3)
                row = []
                for r in group:
                    less = {"none": 0.0, "mean": mean, "loo": (4 * mean - r) / 3}[baseline]
                    if baseline == "none" and normaliser == "batch-std":
                        less = mean_of_all
                    share = sum(right) / 4
                    value = {
                        "none": r - less,
                        "std": (r - less) / (std + 1e-6) if std else 0.0,
                        "mean": (r - less) / share if share else 0.0,
                        "batch-std": (r - less) / (std_of_all + 1e-6),
                    }[normaliser]
                    row.append(value)
                expected.append(row)
            estimator = Estimator(baseline=baseline, advantage_normaliser=normaliser)
            found = estimators.advantages(rewards, accuracy, estimator)
            close(found, expected)
            if baseline != "none":
                assert not found[1].any()  # exactly 0: an equal group costs no forward pass


def test_equal_rewards_that_no_float_holds_have_advantage_exactly_0():
    for value in (0.1, 1 / 3, 0.7):
        equal = torch.full((2, 6), value)
        for estimator in PRESETS.values():
            if estimator.baseline == "none":
                continue
            assert not estimators.advantages(equal, torch.ones(2, 6), estimator).any()


def test_overlong_penalty_falls_in_a_line_over_the_buffer():
    lengths = torch.tensor([[1, 80, 81], [90, 99, 100]])
    found = estimators.overlong_penalty(lengths, 100, 20)
    close(found, [[0, 0, -0.05], [-0.5, -0.95, -1]])


# ---------------------------------------------------------------- presets and flags


def test_presets_are_what_their_papers_say():
    axes = {
        "grpo": ("mean", "std", "token", "sequence_mean"),
        "dr_grpo": ("mean", "none", "token", "constant"),
        "dapo": ("mean", "std", "token", "token_mean"),
        "gspo": ("mean", "std", "sequence-mean", "sequence_mean"),
        "cispo": ("mean", "std", "cispo", "token_mean"),
        "rloo": ("loo", "none", "none", "constant"),
        "reinforce++": ("none", "batch-std", "token", "sequence_mean"),
        "rft": ("none", "none", "none", "constant"),
        "maxrl": ("mean", "mean", "token", "constant"),
        "r1": ("mean", "std", "sequence", "sequence_mean"),
        "token_mean": ("mean", "std", "token", "token_mean"),
        "sequence_sum": ("mean", "std", "token", "sequence_sum"),
        "sequence_ratio": ("mean", "std", "sequence", "sequence_mean"),
    }
    assert set(axes) == set(PRESETS)
    clips = {"dapo": (0.2, 0.28), "gspo": (3e-4, 4e-4), "cispo": (1.0, 4.0)}
    for name, chosen in axes.items():
        p = PRESETS[name]
        assert (p.baseline, p.advantage_normaliser, p.importance, p.normaliser) == chosen, name
        assert (p.clip_low, p.clip_high) == clips.get(name, (0.2, 0.2))
        assert p.positives_only == (name == "rft")
        assert p.kl_level == ("sequence" if name == "r1" else "token")


def test_a_flag_changes_one_axis_and_auto_keeps_the_presets():
    assert choose("gspo", clip_low=None, normaliser="auto", std="auto") == PRESETS["gspo"]
    assert choose("gspo", clip_low=0.0).clip_low == 0.0
    assert choose("grpo", std="off") == choose("grpo", advantage_normaliser="none")
    assert choose("dr_grpo", std="on", advantage_normaliser="std").advantage_normaliser == "std"
    assert choose("rft", positives_only="off").positives_only is False
    assert choose("grpo", positives_only="on").positives_only is True
    with pytest.raises(UserError, match="--std on is --advantage-normaliser std.*none is another"):
        choose("grpo", std="on", advantage_normaliser="none")
    with pytest.raises(UserError, match="unknown loss 'gpro': choose grpo, dr_grpo, dapo"):
        choose("gpro")
    for axis, value in (("baseline", "loo"), ("importance", "none"), ("kl_level", "sequence")):
        config = train.TrainConfig(**{axis: value})
        assert getattr(config.estimator, axis) == value
        assert config.estimator == choose("dr_grpo", **{axis: value})


def test_settings_of_an_estimator_make_it_again_from_any_preset():
    for estimator in PRESETS.values():
        settings = estimators.as_settings(estimator)
        for other in PRESETS:
            assert choose(other, **settings) == estimator
    with pytest.raises(UserError, match="--clip-high must be a number, at least 0"):
        train.TrainConfig(clip_high=-1.0)
    with pytest.raises(UserError, match="--overlong-buffer 300 is longer than a response"):
        train.TrainConfig(overlong_buffer=300)


def test_the_tables_of_the_page_are_the_code():
    page = (Path(__file__).parent.parent / "docs" / "estimators.md").read_text()
    rows = re.findall(r"^\| `([^`]+)`[^|]* \| (.*) \|$", page, re.M)
    cells = {name: rest.split(" | ") for name, rest in rows}
    for name, preset in PRESETS.items():
        values = [preset.baseline, preset.advantage_normaliser, preset.importance]
        values += [preset.normaliser, str(preset.clip_low), str(preset.clip_high)]
        assert cells[name][:6] == values, name
    for axis in (estimators.BASELINES, estimators.ADVANTAGE_NORMALISERS):
        assert set(axis) <= set(cells)
    assert {*estimators.SURROGATES, *grpo.NORMALISERS} <= set(cells)


@pytest.mark.parametrize("axis", ["baseline", "advantage_normaliser", "importance", "kl_level"])
def test_a_preset_with_a_choice_that_there_is_not_is_refused(axis, monkeypatch):
    monkeypatch.setitem(PRESETS, "mine", Estimator(**{axis: "sequence_mean"}))
    flag = "--" + axis.replace("_", "-")
    with pytest.raises(UserError, match=f"{flag} sequence_mean: choose "):
        choose("mine")

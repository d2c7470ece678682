"""PPO: its formulas against their definitions, its step by hand, and runs that resume bit for bit."""

import json
import math
import os
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from conftest import make_tiny
from safetensors.torch import load_file
from test_must_hold import close, on_policy, random_rollouts
from test_resume import assert_same_run

import config
import grpo
import model as lm
import ppo
import sample
import train
from engine import memory
from engine import optimizer as optim
from evaluation import metrics
from storage import runs

DRAWS = int(os.environ.get("DRAWS", 100))


def draw(seed: int, B: int = 4, T: int = 6):
    """Random rows in fp64 with lengths; beyond them stands what must not be read."""
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, T + 1, (B,), generator=g)
    tensors = [torch.randn(B, T, generator=g, dtype=torch.float64) for _ in range(3)]
    for tensor in tensors:
        tensor[~ppo.in_responses(lengths, T)] = 99.0
    return lengths, tensors, g


def must_fail(check, where, name, fault, monkeypatch):
    """The check finds a fault that is planted in the place of a function."""
    with monkeypatch.context() as patch:
        patch.setattr(where, name, fault(getattr(where, name)))
        with pytest.raises((AssertionError, IndexError)):
            check()


# ---------------------------------------------------------------- advantages


def gae_by_definition(rewards, values, lengths, gamma, gae_lambda):
    """Two sums for each token: A_t = sum_k (gamma lambda)^k delta_t+k."""
    advantages = torch.zeros_like(rewards)
    for i, length in enumerate(lengths.tolist()):
        deltas = []
        for t in range(length):
            later = values[i, t + 1] if t + 1 < length else 0.0
            deltas.append(rewards[i, t] + gamma * later - values[i, t])
        for t in range(length):
            for k in range(length - t):
                advantages[i, t] += (gamma * gae_lambda) ** k * deltas[t + k]
    return advantages


def check_gae():
    for seed in range(DRAWS):
        lengths, (rewards, values, _), g = draw(seed)
        gamma, gae_lambda = torch.rand(2, generator=g).tolist()
        advantages, returns = ppo.gae(rewards, values, lengths, gamma, gae_lambda)
        wanted = gae_by_definition(rewards, values, lengths, gamma, gae_lambda)
        inside = ppo.in_responses(lengths, 6)
        close(advantages, wanted, 1e-12)
        close(returns, (wanted + values) * inside, 1e-12)


def value_of_the_same_state(right):
    return lambda r, v, n, gamma, lam: right(r, v.roll(-1, 1), n, gamma, lam)


def value_added(right):
    return lambda r, v, n, gamma, lam: right(r, -v, n, gamma, lam)


def gamma_alone(right):
    return lambda r, v, n, gamma, lam: right(r, v, n, gamma, 1.0)


def no_discount(right):
    return lambda r, v, n, gamma, lam: right(r, v, n, 1.0, gamma * lam)


def padding_read(right):
    return lambda r, v, n, gamma, lam: right(r, v, torch.full_like(n, r.shape[1]), gamma, lam)


def last_token_lost(right):
    return lambda r, v, n, gamma, lam: right(r, v, n - 1, gamma, lam)


def returns_are_advantages(right):
    def faulty(*given):
        advantages, _ = right(*given)
        return advantages, advantages

    return faulty


GAE_FAULTS = [
    value_of_the_same_state,
    value_added,
    gamma_alone,
    no_discount,
    padding_read,
    last_token_lost,
    returns_are_advantages,
]


def test_gae_is_its_definition(monkeypatch):
    check_gae()
    for fault in GAE_FAULTS:
        must_fail(check_gae, ppo, "gae", fault, monkeypatch)


def test_rows_and_lengths_must_fit():
    lengths, (rewards, values, returns), _ = draw(1)
    step = grpo.Denominators(4, 20, 6)
    for short in (lengths[1:], lengths[:, None]):
        with pytest.raises(AssertionError):
            ppo.gae(rewards, values, short, 1.0, 1.0)
        with pytest.raises(AssertionError):
            ppo.value_loss(values, values, returns, short, "token_mean", step, 0.2)
        with pytest.raises(AssertionError):
            ppo.shaped_rewards(torch.zeros(4), short, values, 0.0)
    with pytest.raises(AssertionError):
        ppo.gae(rewards, values[:, 1:], lengths, 1.0, 1.0)
    with pytest.raises(AssertionError):
        ppo.value_loss(values, values, returns[:, 1:], lengths, "token_mean", step, 0.2)


def test_lambda_1_returns_what_was_earned_and_lambda_0_looks_one_token_ahead():
    lengths, (rewards, values, other_values), _ = draw(1)
    gamma = 0.9
    inside = ppo.in_responses(lengths, 6)
    _, returns = ppo.gae(rewards, values, lengths, gamma, 1.0)
    _, same = ppo.gae(rewards, other_values, lengths, gamma, 1.0)
    close(returns, same, 1e-12)  # whatever the critic says
    i = int(lengths.argmax())
    to_come = 0.0
    for t in reversed(range(int(lengths[i]))):
        to_come = rewards[i, t] + gamma * to_come
        close(returns[i, t], to_come, 1e-12)
    advantages, returns = ppo.gae(rewards, values, lengths, gamma, 0.0)
    after = (values * inside).roll(-1, 1)
    after[:, -1] = 0
    close(returns, (rewards + gamma * after) * inside, 1e-12)
    close(advantages, (rewards + gamma * after - values) * inside, 1e-12)


def test_whitened_advantages_have_mean_0_and_deviation_1_over_all_tokens():
    lengths, (advantages, _, _), _ = draw(2)
    inside = ppo.in_responses(lengths, 6)
    white = ppo.whiten(advantages, lengths)
    assert white[~inside].abs().max() == 0
    tokens = advantages[inside]
    wanted = (tokens - tokens.mean()) / tokens.std()
    close(white[inside], wanted, 1e-7)
    close(ppo.whiten(5 * advantages + 3, lengths)[inside], wanted, 1e-7)
    equal = torch.full((2, 3), 0.1)  # 0.1 - mean is not 0 in floating point
    assert ppo.whiten(equal, torch.tensor([3, 2])).abs().max() == 0
    assert ppo.whiten(equal[:1, :1], torch.tensor([1])).tolist() == [[0.0]]
    # Nearly equal ones are not blown up.
    small = torch.tensor([[1e-12, -1e-12]], dtype=torch.float64)
    found = ppo.whiten(small, torch.tensor([2]))
    close(found[0, 0], 1e-12 / (2**0.5 * 1e-12 + 1e-8), 1e-9)


def test_the_reward_is_the_last_tokens_and_the_kl_is_taken_off_each():
    rewards = torch.tensor([1.0, -0.5])
    lengths = torch.tensor([3, 1])
    kl = torch.tensor([[0.1, -0.2, 0.4, 9.0], [0.3, 9.0, 9.0, 9.0]])
    found = ppo.shaped_rewards(rewards, lengths, kl, 0.5)
    close(found, torch.tensor([[-0.05, 0.1, 0.8, 0.0], [-0.65, 0.0, 0.0, 0.0]]))
    assert rewards.tolist() == [1.0, -0.5] and kl[0, 0] == torch.tensor(0.1)  # left as they were
    plain = ppo.shaped_rewards(rewards, lengths, kl, 0.0)
    assert plain.tolist() == [[0, 0, 1, 0], [-0.5, 0, 0, 0]]


def test_explained_variance():
    lengths = torch.tensor([3, 2])
    returns = torch.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, 99.0]])
    close(ppo.explained_variance(returns, returns, lengths), 1.0)
    close(ppo.explained_variance(returns + 7, returns, lengths), 1.0)  # an offset is no variance
    close(ppo.explained_variance(torch.zeros(2, 3), returns, lengths), 0.0, 1e-6)
    close(ppo.explained_variance(-returns, returns, lengths), -3.0)
    close(ppo.explained_variance(returns / 2, returns, lengths), 0.75)
    assert ppo.explained_variance(returns, torch.ones(2, 3), lengths) is None


# ---------------------------------------------------------------- expected gradients

LONGEST = 5


def stopping(theta):
    """(p(n), log-probs [n]) of a policy that stops with probability sigmoid(theta) at each token.

    A response is n - 1 tokens that go on and, but for the longest, one that stops.
    """
    stop = torch.nn.functional.logsigmoid(theta)
    go_on = torch.nn.functional.logsigmoid(-theta)
    rows = []
    for n in range(1, LONGEST + 1):
        ends = [stop] if n < LONGEST else [go_on]
        rows.append(torch.stack([go_on] * (n - 1) + ends))
    rows.append(torch.stack([go_on] * (LONGEST - 1) + [stop]))
    return rows


def gradients(values, gae_lambda):
    """(that of the expected reward, PPO's expected one) in theta, by listing all responses."""
    theta = torch.tensor(-0.4, dtype=torch.float64, requires_grad=True)
    rows = stopping(theta)
    earned = torch.tensor([0.3, -1.0, 2.0, 0.7, 0.1, 1.5], dtype=torch.float64)
    expected = sum(row.sum().exp() * r for row, r in zip(rows, earned))
    (wanted,) = torch.autograd.grad(expected, theta, retain_graph=True)
    found = 0.0
    for row, r in zip(rows, earned):
        n = len(row)
        of_tokens = torch.zeros(1, n, dtype=torch.float64)
        of_tokens[0, -1] = r
        lengths = torch.tensor([n])
        A, _ = ppo.gae(of_tokens, values(rows, earned)[None, :n], lengths, 1.0, gae_lambda)
        step = grpo.Denominators(1, n, LONGEST)
        loss = grpo.Loss(False, "sequence_sum")
        row = row[None]
        total, _ = grpo.policy_loss(row, row.detach(), A, lengths, loss, step)
        (slope,) = torch.autograd.grad(total, theta, retain_graph=True)
        found = found - row.sum().exp().detach() * slope
    return wanted, found


def true_values(rows, earned):
    """What the responses that are still going earn on average, before each token."""
    found = []
    for t in range(LONGEST):
        going = [(row[t:].sum().exp(), r) for row, r in zip(rows, earned) if len(row) > t]
        found.append(sum(p * r for p, r in going).detach())
    return torch.stack(found)


def wrong_values(rows, earned):
    return torch.tensor([3.0, -1.0, 0.5, 2.0, -4.0], dtype=torch.float64)


def test_the_expected_gradient_is_that_of_the_expected_reward():
    """With true values at any lambda, with any values at lambda 1: a baseline has no gradient."""
    for gae_lambda in (0.0, 0.5, 1.0):
        close(*gradients(true_values, gae_lambda), 1e-12)
    close(*gradients(wrong_values, 1.0), 1e-12)
    with pytest.raises(AssertionError):  # what lambda below 1 costs
        close(*gradients(wrong_values, 0.5), 1e-2)


# ---------------------------------------------------------------- the loss


def loss_by_definition(rows, lengths, step, normaliser, settings):
    """PPO's loss, token by token."""
    logprobs, old, A, values, old_values, returns, entropy = rows
    total = 0.0
    for i, length in enumerate(lengths.tolist()):
        row = 0.0
        for t in range(length):
            ratio = (logprobs[i, t] - old[i, t]).exp()
            near = ratio.clamp(1 - settings["clip_low"], 1 + settings["clip_high"])
            policy = torch.minimum(ratio * A[i, t], near * A[i, t])
            error = (values[i, t] - returns[i, t]) ** 2
            eps = settings["value_clip"]
            if eps:
                low, high = old_values[i, t] - eps, old_values[i, t] + eps
                clipped = torch.minimum(torch.maximum(values[i, t], low), high)
                error = torch.maximum(error, (clipped - returns[i, t]) ** 2)
            row = row - policy + settings["value_coef"] * error
            row = row - settings["entropy_coef"] * entropy[i, t]
        divisor = {
            "token_mean": step.tokens,
            "sequence_mean": length * step.rows,
            "constant": step.max_new_tokens * step.rows,
        }[normaliser]
        total = total + row / divisor
    return total


def check_loss():
    for seed in range(DRAWS):
        lengths, (A, values, returns), g = draw(seed)
        T = A.shape[1]

        def near(tensor, width):
            noise = torch.randn(tensor.shape, generator=g, dtype=torch.float64)
            return tensor + width * noise

        inside = ppo.in_responses(lengths, T)
        old = near(torch.full_like(A, -2.0), 0.5).masked_fill(~inside, 0.0)
        logprobs = near(old, 0.3).masked_fill(~inside, 0.0).requires_grad_()
        old_values = near(values, 0.3)
        values.requires_grad_()
        entropy = near(torch.full_like(A, 1.0), 0.3).requires_grad_()
        settings = dict(
            clip_low=0.2,
            clip_high=0.3,
            value_clip=[0.0, 0.2][seed % 2],
            value_coef=0.7,
            entropy_coef=[0.0, 0.05][seed // 2 % 2],
            normaliser=["token_mean", "sequence_mean", "constant"][seed % 3],
        )
        c = train.TrainConfig(algorithm="ppo", **settings)
        step = grpo.Denominators(rows=7, tokens=31, max_new_tokens=9)
        rows = (logprobs, old, A, values, old_values, returns, entropy)
        found, log = ppo.loss(
            logprobs, old, A, lengths, values, old_values, returns, entropy, step, c
        )
        wanted = loss_by_definition(rows, lengths, step, settings["normaliser"], settings)
        leaves = (logprobs, values, entropy)
        of_found = torch.autograd.grad(found, leaves, allow_unused=True)
        of_wanted = torch.autograd.grad(wanted, leaves)
        close(found, wanted, 1e-6)
        for a, b in zip(of_found, of_wanted):
            close(torch.zeros_like(b) if a is None else a, b, 1e-6)
        error = ((values - returns) ** 2).detach()
        if settings["value_clip"]:
            moved = (values - old_values).clamp(-0.2, 0.2)
            clipped = ((old_values + moved - returns) ** 2).detach()
            assert log["value_clipped"] == ((clipped > error) & inside).sum()
            error = torch.maximum(error, clipped)
        else:
            assert log["value_clipped"] == 0
        weights = grpo.token_weights(lengths, T, settings["normaliser"], step)
        close(log["value_loss"], (error * weights).sum(), 1e-6)


def smaller_error(right):
    def faulty(values, old_values, returns, *more):
        far = returns + (values - returns) / 2
        return right(far, old_values, returns, *more)

    return faulty


def clipped_about_the_return(right):
    return lambda values, old, returns, *more: right(values, returns, returns, *more)


def old_value_is_the_target(right):
    return lambda values, old, returns, *more: right(values, old, old, *more)


def never_clipped(right):
    return lambda *given: right(*given[:-1], 0.0)


def negated(right):
    def faulty(*given):
        found, held = right(*given)
        return -found, held

    return faulty


VALUE_FAULTS = [
    smaller_error,
    clipped_about_the_return,
    old_value_is_the_target,
    never_clipped,
    negated,
]


def test_loss_and_gradient_are_the_formula(monkeypatch):
    check_loss()
    for fault in VALUE_FAULTS:
        must_fail(check_loss, ppo, "value_loss", fault, monkeypatch)


# ---------------------------------------------------------------- a step

PPO = dict(algorithm="ppo", max_new_tokens=16, temperature=0.7)


def rollouts_with_values(model):
    """Random rollouts, and what a critic may have said of them: (rollouts, advantages [B, T])."""
    rollouts = on_policy(model, random_rollouts(model))
    longest = max(len(rollout.response) for rollout in rollouts)
    g = torch.Generator().manual_seed(8)
    advantage = torch.randn(len(rollouts), longest, generator=g)
    for rollout in rollouts:
        rollout.values = torch.randn(len(rollout.response), generator=g).tolist()
        rollout.returns = torch.randn(len(rollout.response), generator=g).tolist()
    return rollouts, advantage


def random_critic(model, kind):
    """A critic whose head and layers are not those that it begins with."""
    critic = ppo.Critic(model, kind)
    g = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for p in critic.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=g))
    return critic


class Recorder:
    """Stands where an optimizer stands and keeps the gradient."""

    def __init__(self, model):
        self.params = list(model.parameters())
        self.gradient = None

    def accumulate(self):
        pass

    def step(self, lr, clip_norm):
        self.gradient = taken(self.params)
        return 0.0


def taken(params):
    """The gradients of parameters as one tensor; afterwards they have none."""
    found = []
    for p in params:
        found.append(torch.zeros(p.numel()) if p.grad is None else p.grad.flatten())
        p.grad = None
    return torch.cat(found)


def step_gradients(model, critic, rollouts, advantage, budget=10**6):
    policy, of_critic = Recorder(model), Recorder(critic)
    c = train.TrainConfig(critic="own" if critic.body else "shared", token_budget=budget, **PPO)
    stats = train.update(
        model, policy, rollouts, advantage, 0.0, c, critic=critic, critic_optimizer=of_critic
    )
    return policy.gradient, of_critic.gradient, stats


def gradients_by_hand(model, critic, rollouts, advantage):
    """The step as two loops over single rows, without shared prompts and without padding."""
    tokens = sum(len(rollout.response) for rollout in rollouts)
    total = 0.0
    for rollout, A in zip(rollouts, advantage):
        ids = torch.tensor([rollout.prompt + rollout.response])
        N = ids.shape[1]
        reader = critic.body or model
        hidden = reader.hidden(ids[0], lm.Causal(1, N, ids.device))
        logprobs = (model(ids)[0] / PPO["temperature"]).log_softmax(-1)
        for t, token in enumerate(rollout.response):
            before = len(rollout.prompt) - 1 + t
            ratio = (logprobs[before, token] - rollout.logprobs[t]).exp()
            policy = torch.minimum(ratio * A[t], ratio.clamp(0.8, 1.2) * A[t])
            value = hidden[before] @ critic.head.weight[0]
            old, wanted = rollout.values[t], rollout.returns[t]
            near = value.clamp(old - 0.2, old + 0.2)
            error = torch.maximum((value - wanted) ** 2, (near - wanted) ** 2)
            total = total + (-policy + 0.5 * error) / tokens
    total.backward()
    return taken(model.parameters()), taken(critic.parameters())


@pytest.mark.parametrize("kind", ["own", "shared"])
def test_step_equals_the_formula_by_hand_however_it_is_cut_and_ordered(tiny, kind):
    critic = random_critic(tiny, kind)
    rollouts, advantage = rollouts_with_values(tiny)
    wanted = gradients_by_hand(tiny, critic, rollouts, advantage)
    for budget in (10**6, 40, 1):
        *found, stats = step_gradients(tiny, critic, rollouts, advantage, budget)
        for a, b in zip(found, wanted):
            close(a, b)
        assert stats["tokens"] == sum(len(rollout.response) for rollout in rollouts)
    order = [3, 0, 5, 1, 4, 2]
    shuffled = [rollouts[i] for i in order]
    *found, _ = step_gradients(tiny, critic, shuffled, advantage[order], 40)
    for a, b in zip(found, wanted):
        close(a, b)
    *found, _ = step_gradients(tiny, critic, shuffled, advantage, 40)  # of other rows
    with pytest.raises(AssertionError):
        close(found[0], wanted[0])


def test_the_critic_begins_as_the_policy_at_value_0_and_is_apart(tiny):
    own, shared = ppo.Critic(tiny, "own"), ppo.Critic(tiny, "shared")
    states = torch.randn(3, tiny.config.hidden_size)
    assert own(states).tolist() == shared(states).tolist() == [0.0] * 3
    assert [name for name, _ in shared.named_parameters()] == ["head.weight"]
    for a, b in zip(own.body.parameters(), tiny.parameters()):
        assert torch.equal(a, b) and a.data_ptr() != b.data_ptr()


def test_an_untied_critic_keeps_no_head_of_ids_and_memory_knows_its_size(tokenizer):
    for tied in (True, False):
        model = make_tiny(tokenizer, tie_word_embeddings=tied)
        critic = ppo.Critic(model, "own")
        numbers = sum(p.numel() for p in critic.parameters())
        assert numbers == memory.critic_parameters(model.config)


def test_the_memory_plan_knows_the_critic(tiny):
    with_critic = {}
    for critic in (False, True):
        setup = memory.Setup(1, 64, 256, critic=critic, width=4)
        with_critic[critic] = memory.parts(tiny.config, setup)
    more = {name: with_critic[True][name] - size for name, size in with_critic[False].items()}
    n = memory.critic_parameters(tiny.config) / 1e9
    assert math.isclose(more["weights"], 4 * n) and math.isclose(more["AdamW"], 8 * n)
    assert math.isclose(more["gradients"], 4 * n) and more["activations"] > 0
    offloaded = memory.Setup(1, 64, 256, offload=True)
    assert memory.cpu_gb(tiny.config, memory.replace(offloaded, critic=True)) > 1.9 * memory.cpu_gb(
        tiny.config, offloaded
    )
    for critic, is_own in (("own", True), ("shared", False)):
        c = train.TrainConfig(algorithm="ppo", critic=critic)
        assert memory.setup_of(c, 10, 64).critic == is_own
    assert not memory.setup_of(train.TrainConfig(), 10, 64).critic


# ---------------------------------------------------------------- runs

SMALL = dict(
    algorithm="ppo",
    prompts_per_step=2,
    group_size=2,
    max_new_tokens=12,
    eval_every=1,
    eval_problems=2,
    save_every=1,
    lr=1e-3,
    critic_lr=1e-2,
    reward="varied",
    updates_per_step=2,
    device="cpu",
)


def settings(folder, model, **more):
    return train.TrainConfig(out=str(folder), model=model, **{**SMALL, **more})


def go_on(folder, **more):
    given = train.TrainConfig(resume=str(folder), **more)
    train.train(train.resumed(given, {"resume", *more}))


def assert_same_critic(a, b):
    files = [runs.checkpoints(Path(folder))[-1] / runs.CRITIC for folder in (a, b)]
    one, other = [torch.load(file, weights_only=True) for file in files]
    assert one["names"] == other["names"] and one["weights"].keys() == other["weights"].keys()
    for name, tensor in one["weights"].items():
        assert torch.equal(tensor, other["weights"][name]), name
    for i, moments in one["adam"]["state"].items():
        for name, tensor in moments.items():
            assert torch.equal(tensor, other["adam"]["state"][i][name]), (i, name)


@pytest.fixture
def untimed(monkeypatch):
    """`assert_same_run` passes over a step's seconds; those of the critic are not in its list."""
    real = train.Timer.stop
    monkeypatch.setattr(
        train.Timer, "stop", lambda self, part: real(self, {"critic": "reward"}.get(part, part))
    )


@pytest.mark.parametrize(
    "more",
    [
        dict(critic="own"),
        dict(critic="shared", kl_coef=0.1),
        dict(critic="own", dtype="bf16", optimizer_states="bf16", offload_optimizer=True),
    ],
)
def test_a_resumed_run_is_an_undisturbed_one_bit_for_bit(
    tmp_path, tiny_folder, monkeypatch, varied_reward, untimed, more
):
    whole, part = tmp_path / "whole", tmp_path / "part"
    train.train(settings(whole, tiny_folder, steps=2, **more))
    train.train(settings(part, tiny_folder, steps=1, **more))
    go_on(part, steps=2)
    assert_same_run(whole, part)
    assert_same_critic(whole, part)
    for place in runs.checkpoints(part):  # the fault shows
        if runs.step_of(place) == 2:
            shutil.rmtree(place)
    monkeypatch.setattr(runs, "read_critic", lambda checkpoint, optimizer: None)
    go_on(part, steps=2)
    with pytest.raises(AssertionError):
        assert_same_critic(whole, part)


def test_a_run_logs_its_critic_and_its_policy_is_a_plain_folder(
    tmp_path, tiny_folder, varied_reward
):
    folder = tmp_path / "run"
    more = dict(group_size=1, kl_coef=0.1, eval_every=1)  # one response a problem will do
    train.train(settings(folder, tiny_folder, steps=2, **more))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    named = {"value_loss", "value_mean", "explained_variance", "value_clip_share", "kl"}
    assert named | {"critic_grad_norm", "seconds_critic"} <= lines[2].keys()
    assert lines[1]["value_mean"] == 0  # the head begins at 0
    assert abs(lines[1]["kl"]) < 1e-5 < abs(lines[2]["kl"])
    assert lines[2]["value_mean"] < 0  # rewards are not above 0
    stored = json.loads((folder / "config.json").read_text())
    assert stored["normaliser"] == "token_mean" and stored["kl_kind"] == "k1"
    place = runs.checkpoints(folder)[-1]
    theirs = transformers.AutoModelForCausalLM.from_pretrained(place)
    ours, _ = lm.load(str(place))
    ids = torch.tensor([[5, 6, 7]])
    close(theirs(ids).logits.detach(), ours(ids).detach(), 1e-4)
    sizes = sum(file.stat().st_size for file in place.iterdir() if file.suffix != ".json")
    planned = memory.checkpoint_bytes(ours.config, "fp32", critic=True)
    assert planned < sizes < planned * 1.1 + 50_000
    assert (folder / "report.html").is_file()


def test_without_its_critic_a_checkpoint_is_not_resumed(tmp_path, tiny_folder, varied_reward):
    folder = tmp_path / "run"
    train.train(settings(folder, tiny_folder, steps=1))
    file = runs.checkpoints(folder)[-1] / runs.CRITIC
    whole = file.read_bytes()
    file.write_bytes(whole[:1000])
    with pytest.raises(config.UserError, match="critic.pt is damaged"):
        go_on(folder, steps=2)
    file.unlink()
    with pytest.raises(config.UserError, match="has no critic.pt"):
        go_on(folder, steps=2)
    file.write_bytes(whole)
    go_on(folder, steps=2, critic_lr=2e-3)
    assert json.loads((folder / "config.json").read_text())["critic_lr"] == 2e-3


def test_a_run_without_a_critic_is_not_resumed_with_a_learning_rate_of_one(tmp_path):
    (tmp_path / "config.json").write_text('{"steps": 1}')
    with pytest.raises(config.UserError, match="no critic; leave out --critic-lr"):
        go_on(tmp_path, critic_lr=2e-3)


def test_a_new_run_is_named_for_its_algorithm(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = runs.new_run_folder(train.TrainConfig(algorithm="ppo"))
    assert str(folder) == "runs/countdown-ppo-seed0"


def test_an_optimizer_step_whose_rollouts_are_all_filtered_has_figures_too(tmp_path, tiny_folder):
    more = dict(overlong_filtering=True, reward="dr_grpo")
    run = train.open_run(settings(tmp_path / "run", tiny_folder, steps=1, **more))
    try:
        prompts = [[5, 6, 7], [8]]
        rollouts = sample.generate(run.model, run.tokenizer, prompts, sample.Sampling(12), n=2)
        for i, rollout in enumerate(rollouts):
            rollout.finished = i < 2
        rewards = torch.tensor([1.0, 0.0, -1.0, 0.5])
        advantage, _ = train.critic_advantages(run, rollouts, rewards)
        updates = train.update_in_parts(run, rollouts, advantage, lr=0.0)
        assert sorted(stats["tokens"] > 0 for stats in updates) == [False, True]
        figures = metrics.update_metrics(updates, has_kl=False)
        assert figures["critic_grad_norm"] > 0 and figures["value_loss"] > 0
    finally:
        run.lock.release()


def test_equal_rewards_train_and_a_warm_up_is_the_critics_alone(tmp_path, tiny_folder, monkeypatch):
    """A random model never answers: all rewards are 0, and a critic at 0 has nothing to learn."""
    monkeypatch.setitem(train.reward.REWARDS, "varied", lambda right, parsed, reading: (-1.0, 0.0))
    start = load_file(Path(tiny_folder) / "model.safetensors")
    for warmup, moves in ((2, False), (0, True)):
        folder = tmp_path / f"run-{warmup}"
        more = dict(critic_warmup=warmup, weight_decay=0.1, whiten=False)
        train.train(settings(folder, tiny_folder, steps=2, **more))
        place = runs.checkpoints(folder)[-1]
        weights = load_file(place / "model.safetensors")
        assert any(not torch.equal(weights[k], start[k]) for k in start) == moves
        critic = torch.load(place / runs.CRITIC, weights_only=True)["weights"]
        assert critic["head.weight"].abs().max() > 0
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert lines[2]["equal_groups"] is None
        assert lines[2]["value_loss"] < lines[1]["value_loss"]


def test_a_step_without_a_row_is_logged_too(tmp_path, tiny_folder, varied_reward):
    folder = tmp_path / "run"
    more = dict(overlong_filtering=True, max_new_tokens=1)  # so that every response is cut off
    train.train(settings(folder, tiny_folder, steps=1, **more))
    line = json.loads((folder / "metrics.jsonl").read_text().splitlines()[1])
    assert line["truncated"] == 1 and line["critic_grad_norm"] == line["value_loss"] == 0


def test_kl_is_in_the_reward(tmp_path, tiny_folder, tokenizer, varied_reward):
    c = settings(tmp_path / "run", tiny_folder, steps=1, kl_coef=0.3, whiten=False)
    run = train.open_run(c)
    try:
        run.reference = make_tiny(tokenizer, seed=1)
        sampling = sample.Sampling(12)
        prompts = [[5, 6, 7], [8]]
        rollouts = sample.generate(run.model, run.tokenizer, prompts, sampling, n=2, seed=1)
        rewards = torch.tensor([1.0, 0.0, -1.0, 0.5])
        advantage, log = train.critic_advantages(run, rollouts, rewards)
        total = 0.0
        for i, rollout in enumerate(rollouts):
            there, _ = lm.response_logprobs(run.reference, [rollout.prompt], [rollout.response])
            k1 = torch.tensor(rollout.logprobs) - there[0].detach()
            total += k1.sum().item()
            close(rollout.returns[0], rewards[i] - 0.3 * k1.sum(), 1e-4)
            close(advantage[i, : len(k1)], torch.tensor(rollout.returns), 1e-6)  # values are 0
            assert rollout.values == [0.0] * len(k1)
        close(log["kl"], total / sum(len(rollout.response) for rollout in rollouts), 1e-4)
    finally:
        run.lock.release()


@pytest.mark.parametrize(
    "given, said",
    [
        (dict(baseline="loo"), "--baseline belongs to --algorithm grpo"),
        (dict(loss="rloo"), "--loss belongs to --algorithm grpo"),
        (dict(std="on"), "--std belongs to --algorithm grpo"),
        (dict(importance="cispo"), "--importance belongs to"),
        (dict(dynamic_sampling=2), "--dynamic-sampling belongs to"),
        (dict(kl_kind="k2"), "--kl-kind k2: PPO's KL is k1"),
        (dict(gamma=1.5), "at most 1"),
        (dict(gae_lambda=1.5), "at most 1"),
        (dict(group_size=0), "--group-size must be at least 1"),
        (dict(algorithm="grpo", critic="shared"), "--critic belongs to --algorithm ppo"),
        (dict(algorithm="grpo", value_clip=0.5), "--value-clip belongs to --algorithm ppo"),
        (dict(algorithm="grpo", group_size=1), "--group-size must be at least 2: a group of one"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_a_line(given, said):
    with pytest.raises(config.UserError, match=said) as refused:
        train.TrainConfig(**{"algorithm": "ppo", **given})
    assert "\n" not in str(refused.value)


def test_ppo_takes_a_group_of_one_and_its_optimizers_are_two(tmp_path, tiny_folder):
    assert train.TrainConfig(algorithm="ppo", group_size=1).group_size == 1
    run = train.open_run(settings(tmp_path / "run", tiny_folder, steps=1, reward="dr_grpo"))
    run.lock.release()
    assert isinstance(run.critic_optimizer, optim.MasterAdamW)
    assert run.critic_optimizer is not run.optimizer

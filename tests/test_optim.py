"""The optimizer's variants do the same update: sums in fp32, on the CPU, with states in bf16."""

import copy

import pytest
import torch
from conftest import make_tiny

import model as lm
from engine import batches
from engine import optimizer as optim

PROMPTS, RESPONSES = [[5, 6, 7], [8, 9], [3]], [[10, 11], [12, 13, 14, 15], [16] * 9]


def micro_batch_gradients(model, optimizer, batches=((0,), (1, 2))):
    for rows in batches:
        logprobs, _ = lm.response_logprobs(
            model, [PROMPTS[i] for i in rows], [RESPONSES[i] for i in rows]
        )
        (-logprobs.sum()).backward()
        optimizer.accumulate()


def trained(tokenizer, steps=3, dtype=torch.bfloat16, **more):
    """(masters, model) after some steps of two micro-batches each."""
    model = make_tiny(tokenizer)
    optimizer = optim.MasterAdamW(model, dtype, weight_decay=0.1, **more)
    for _ in range(steps):
        micro_batch_gradients(model, optimizer)
        optimizer.step(lr=1e-2, clip_norm=1.0)
    return [m.detach().clone() for m in optimizer.masters], model


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("states", ["fp32", "bf16"])
def test_offloaded_is_bit_identical_on_one_machine(tokenizer, dtype, states, monkeypatch):
    monkeypatch.setattr(optim, "IN_FLIGHT", 2)
    plain, model = trained(tokenizer, dtype=dtype, states=states)
    away, moved = trained(tokenizer, dtype=dtype, states=states, offload=True)
    assert same(plain, away) and same(model.parameters(), moved.parameters())
    assert not same(plain, trained(tokenizer, dtype=dtype, states=states, steps=2)[0])
    monkeypatch.setattr(
        optim.MasterAdamW,
        "receive",
        lambda self, i, grad, copied: optim.add(self.masters[i], grad * (i > 0)),
    )
    assert not same(
        plain, trained(tokenizer, dtype=dtype, states=states, offload=True)[0]
    )  # the fault: one gradient lost


def test_gradients_are_summed_in_fp32_and_freed_one_by_one(tokenizer):
    model = make_tiny(tokenizer)
    optimizer = optim.MasterAdamW(model, torch.bfloat16)
    alive = []
    for p in model.parameters():  # after the optimizer's own hook
        p.register_post_accumulate_grad_hook(
            lambda _: alive.append(sum(q.grad is not None for q in model.parameters()))
        )
    parts = []
    for rows in ((0,), (1, 2)):
        twin = copy.deepcopy(model)
        twin_logprobs, _ = lm.response_logprobs(
            twin, [PROMPTS[i] for i in rows], [RESPONSES[i] for i in rows]
        )
        parts.append(
            [g.float() for g in torch.autograd.grad(-twin_logprobs.sum(), list(twin.parameters()))]
        )
    micro_batch_gradients(model, optimizer)
    assert len(alive) == 2 * len(optimizer.params) and max(alive) == 0
    assert same([m.grad for m in optimizer.masters], [a + b for a, b in zip(*parts)])
    in_bf16 = [(a.bfloat16() + b.bfloat16()).float() for a, b in zip(*parts)]
    assert not same([m.grad for m in optimizer.masters], in_bf16)  # the fault shows


@pytest.mark.parametrize("offload", [False, True])
def test_dropped_gradients_leave_nothing_behind(tokenizer, offload):
    model = make_tiny(tokenizer)
    optimizer = optim.MasterAdamW(model, torch.bfloat16, offload=offload)
    micro_batch_gradients(model, optimizer)
    optimizer.drop_gradients()
    assert all(
        p.grad is None and m.grad is None for p, m in zip(optimizer.params, optimizer.masters)
    )
    micro_batch_gradients(model, optimizer)
    optimizer.step(lr=1e-2, clip_norm=1.0)
    fresh = make_tiny(tokenizer)
    other = optim.MasterAdamW(fresh, torch.bfloat16, offload=offload)
    micro_batch_gradients(fresh, other)
    other.step(lr=1e-2, clip_norm=1.0)
    assert same(optimizer.masters, other.masters)


def test_packed_micro_batches_count_tokens_and_padded_ones_padding():
    lengths = [10, 7, 6, 3, 1]
    assert batches.micro_batches(lengths, 18, packed=True) == [[0, 1], [2, 3, 4]]
    assert batches.micro_batches(lengths, 18) == [[0], [1, 2], [3, 4]]
    assert batches.micro_batches(lengths, 1, packed=True) == [[0], [1], [2], [3], [4]]


# ---------------------------------------------------------------- states in bf16


def test_stochastic_rounding_goes_to_a_neighbour_and_is_right_on_average():
    x = torch.tensor([1.0, 1.0 + 2**-10, -1.0 - 2**-9, 3e-5, -7.7, 0.0]).repeat(100_000, 1)
    noise = torch.randint(
        0, 2**16, x.shape, dtype=torch.int32, generator=torch.Generator().manual_seed(0)
    )
    found = optim.rounded(x, noise).float()
    assert all(len(column.unique()) <= 2 for column in found.T)
    exact = x.bfloat16().float() == x
    assert torch.equal(found[exact], x[exact])
    ulp = x[0].abs() * 2**-7
    assert ((found.mean(0) - x[0]).abs() < 0.01 * ulp + 1e-30).all()
    assert (x.bfloat16().float().mean(0) - x[0])[1].abs() > 0.1 * ulp[1]  # to the nearest is not


def test_it_is_torchs_adamw_but_for_the_rounding(monkeypatch):
    """With rounding switched off on states that bf16 holds exactly, one step is torch's."""
    g = torch.Generator().manual_seed(1)
    ours, theirs = (torch.randn(3, 50, generator=g.manual_seed(1)) for _ in range(2))
    ours.grad, theirs.grad = (torch.randn(3, 50, generator=g.manual_seed(2)) for _ in range(2))
    monkeypatch.setattr(optim, "CHUNK", 40)  # several chunks, the last one shorter
    a = optim.RoundedAdamW([{"params": [ours], "weight_decay": 0.1, "lr": 0.03}], (0.9, 0.95))
    b = torch.optim.AdamW([theirs], lr=0.03, betas=(0.9, 0.95), weight_decay=0.1)
    a.step()
    b.step()
    assert (ours - theirs).abs().max() < 1e-6
    for _ in range(20):
        a.step()
        b.step()
    assert 0 < (ours - theirs).abs().max() < 0.02 * 0.03 * 20  # rounding alone: 2 % of the way gone


def quadratic(states, betas, steps=400, noise=0.3):
    """The distance from the optimum of a badly scaled quadratic with noisy gradients; it begins at 1."""
    g, scale = torch.Generator().manual_seed(0), torch.logspace(-2, 2, 2000)
    x = torch.ones(2000)
    group = [{"params": [x], "weight_decay": 0.0}]
    optimizer = (
        torch.optim.AdamW(group, lr=0.0, betas=betas)
        if states == "fp32"
        else optim.RoundedAdamW(group, betas)
    )
    for step in range(steps):
        x.grad = scale * (x + noise * torch.randn(2000, generator=g))
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / steps)
        optimizer.step()
    return x.square().mean().sqrt().item()


def test_bf16_states_train_about_as_well_as_fp32_states():
    for betas in ((0.9, 0.95), (0.9, 0.999)):
        exact = quadratic("fp32", betas)
        assert exact < 0.05 and quadratic("bf16", betas) < 1.1 * exact


def test_a_second_moment_rounded_to_the_nearest_never_comes_down_again(monkeypatch):
    """Gradients of 1, then of 1e-3: with beta2 = 0.999 each step takes a thousandth off, less than bf16 resolves."""

    def second_moment(first, then):
        p = torch.zeros(4000)
        optimizer = optim.RoundedAdamW([{"params": [p], "weight_decay": 0.0}], (0.9, 0.999))
        for i in range(first + then):
            p.grad = torch.full_like(p, 1.0 if i < first else 1e-3)
            optimizer.step()
        return optimizer.state[0][1].float().mean().item()

    exact = (1 - 0.999**500) * 0.999**1500
    assert second_moment(500, 1500) == pytest.approx(exact, rel=0.02)
    monkeypatch.setattr(optim, "rounded", lambda x, noise: x.bfloat16())
    assert second_moment(500, 1500) > 2 * exact  # the fault shows

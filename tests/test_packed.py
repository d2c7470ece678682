"""Packed rows, gradient checkpointing and chunks of the head change what is kept, not what is computed."""

import itertools

import pytest
import torch
from conftest import make_tiny

import model as lm
from engine import attention
from engine.attention import Packed, attend_one_by_one

PROMPTS, RESPONSES = (
    [[5, 6, 7], [8] * 9, [3], [4] * 2],
    [[10, 11], [12, 13, 14], [16, 17] * 9, [18]],
)


def found(model, prompts=PROMPTS, responses=RESPONSES):
    """(log-probs, entropies, gradients of a weighted sum)."""
    logprobs, entropy = lm.response_logprobs(model, prompts, responses, 0.7)
    weights = torch.linspace(
        -1, 1, logprobs.numel(), dtype=logprobs.dtype, device=logprobs.device
    ).view_as(logprobs)
    model.zero_grad()
    (logprobs * weights).sum().backward()
    return [logprobs.detach(), entropy, *(p.grad for p in model.parameters())]


def as_one_row(q, k, v, lengths, key_lengths):
    """The fault of packed rows that see each other."""
    return attend_one_by_one(q, k, v, [sum(lengths)], [sum(key_lengths)])


def differ(a, b) -> float:
    """The largest difference relative to the tensor's largest value."""
    return max(
        ((x - y).abs().max() / y.abs().max().clamp_min(1e-30)).item()
        for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize(
    "family", [dict(), dict(model_type="qwen3", head_dim=16), dict(num_key_value_heads=4)]
)
def test_packed_rows_have_the_log_probs_and_gradients_of_padded_ones(
    tokenizer, family, monkeypatch
):
    model = make_tiny(tokenizer, **family).double()
    padded = found(model)
    monkeypatch.setattr(lm.Transformer, "packs", True)
    assert differ(found(model), padded) < 1e-6
    assert (
        differ(found(model, PROMPTS[::-1], RESPONSES[::-1])[2:], padded[2:]) > 1e-3
    )  # the comparison notices order


def test_sequences_that_see_those_before_them_would_show(tokenizer, monkeypatch):
    model = make_tiny(tokenizer).double()
    padded = found(model)
    monkeypatch.setattr(lm.Transformer, "packs", True)
    monkeypatch.setattr(attention, "attend_one_by_one", as_one_row)
    assert differ(found(model), padded) > 1e-3


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradient_checkpointing_is_bit_identical(tokenizer, dtype, is_packed, monkeypatch):
    monkeypatch.setattr(lm.Transformer, "packs", is_packed)
    model = make_tiny(tokenizer).to(dtype)
    plain = found(model)
    model.recompute = True
    calls, forward = [], lm.Layer.forward
    monkeypatch.setattr(
        lm.Layer, "forward", lambda self, *rest: calls.append(1) or forward(self, *rest)
    )
    assert all(torch.equal(a, b) for a, b in zip(found(model), plain, strict=True))
    assert len(calls) == 2 * len(model.layers)  # forward, and once more in backward
    with torch.no_grad():
        model(torch.tensor([[1, 2]]))
    assert len(calls) == 3 * len(model.layers)
    count = itertools.count()  # the fault: layers that are not the same when they are computed anew
    monkeypatch.setattr(
        lm.Layer,
        "forward",
        lambda self, x, *rest: forward(self, x.roll(next(count) // 2, -1), *rest),
    )
    again = found(model)
    assert torch.equal(again[0], plain[0]) and differ(again, plain) > 1e-2


@pytest.mark.gpu(least=(8, 0))
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_the_kernel_computes_what_the_loop_computes(kv_heads):
    g = torch.Generator("cuda").manual_seed(0)
    lengths = [5, 130, 1, 64]
    rows = Packed(lengths, "cuda")
    shapes = [(sum(lengths), heads, 64) for heads in (4, kv_heads, kv_heads)]
    q, k, v = (
        torch.randn(s, generator=g, device="cuda").bfloat16().requires_grad_() for s in shapes
    )
    weights = torch.randn(shapes[0], generator=g, device="cuda")

    def outcome(attend, *inputs):
        out = attend(*inputs)
        return [
            out.float().detach(),
            *(x.float() for x in torch.autograd.grad((out.float() * weights).sum(), inputs)),
        ]

    kernel = outcome(lambda *x: rows.attend(0, *x), q, k, v)
    plain = outcome(
        lambda *x: attend_one_by_one(*x, lengths, lengths),
        *(x.detach().float().requires_grad_() for x in (q, k, v)),
    )
    assert differ(kernel, plain) < 2e-2
    other = outcome(
        lambda *x: attend_one_by_one(*x, [sum(lengths)], [sum(lengths)]),
        *(x.detach().float().requires_grad_() for x in (q, k, v)),
    )
    assert differ(kernel, other) > 0.1  # the fault shows


@pytest.mark.gpu(least=(8, 0))
def test_packed_on_the_gpu_is_padded_on_the_cpu(tokenizer):
    model = make_tiny(tokenizer).bfloat16()
    with torch.no_grad():
        for p in model.parameters():
            p.div_(4)
    plain = lm.response_logprobs(model.float(), PROMPTS, RESPONSES)[0]
    assert model.bfloat16().cuda().packs
    assert (lm.response_logprobs(model, PROMPTS, RESPONSES)[0].cpu() - plain).abs().max() < 0.05

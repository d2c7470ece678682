"""Prompts that are computed once for all of their responses: the same numbers and gradients."""

import pytest
import torch
from conftest import make_tiny

import model as lm
from engine.attention import AfterPrompt

# Two groups and a prompt of a single id, which leaves nothing to share.
GROUPS = {
    (5, 6, 7, 9, 8): [[10, 11], [12, 13, 14], [16, 17] * 9],
    (8, 7, 3): [[18], [10, 12, 11, 9]],
    (4,): [[12, 12, 15], [9]],
}
PROMPTS = [[*prompt] for prompt, responses in GROUPS.items() for _ in responses]
RESPONSES = [response for responses in GROUPS.values() for response in responses]
LONGEST = max(map(len, RESPONSES))
WEIGHTS = torch.linspace(-1, 1, len(RESPONSES) * LONGEST).view(-1, LONGEST)
# Micro-batches: all rows; cuts within groups; one row each.
CUTS = ([range(7)], [(6, 2, 3), (0, 5), (1, 4)], [[i] for i in range(7)])
MANY = 10**6  # a token budget beside which these prompts are few: their activations are held
FEW = 6  # one that they fill: they are computed anew in backward, in several chunks


def outcome(model, logprobs, entropy):
    gradients = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    return [logprobs, entropy, *gradients]


def computed_for_each(model):
    """(log-probs, entropies, gradients) with each prompt computed for each response."""
    logprobs, entropy = lm.response_logprobs(model, PROMPTS, RESPONSES, 0.7)
    (logprobs * WEIGHTS).sum().backward()
    return outcome(model, logprobs.detach(), entropy)


def computed_once(model, cut, budget, send_back=True):
    """The same from shared prompts, in micro-batches."""
    shared = lm.SharedPrompts(model, PROMPTS, budget)
    logprobs = torch.zeros(len(RESPONSES), LONGEST, dtype=model.dtype)
    entropy = torch.zeros_like(logprobs)
    for rows in cut:
        rows = [*rows]
        found, spread = shared.response_logprobs(
            [PROMPTS[i] for i in rows], [RESPONSES[i] for i in rows], 0.7
        )
        width = found.shape[1]
        (found * WEIGHTS[rows, :width]).sum().backward()
        logprobs[rows, :width] = found.detach().to(model.dtype)
        entropy[rows, :width] = spread.to(model.dtype)
    if send_back:
        shared.backward()
    return outcome(model, logprobs, entropy)


def differ(a, b) -> float:
    """The largest difference relative to the tensor's largest value."""
    pairs = zip(a, b, strict=True)
    return max(((x - y).abs().max() / y.abs().max().clamp_min(1e-30)).item() for x, y in pairs)


FAMILIES = [dict(), dict(model_type="qwen3", head_dim=16), dict(num_key_value_heads=4)]


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("budget", [MANY, FEW])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_numbers_and_gradients_are_the_same(tokenizer, family, budget, is_packed, monkeypatch):
    model = make_tiny(tokenizer, **family).double()
    wanted = computed_for_each(model)
    monkeypatch.setattr(lm.Transformer, "packs", is_packed)
    for cut in CUTS:
        assert differ(computed_once(model, cut, budget), wanted) < 1e-5
    # The fault: what the responses want of their prompts does not arrive.
    kept_back = computed_once(model, CUTS[1], budget, send_back=False)
    assert differ(kept_back[:2], wanted[:2]) < 1e-5
    assert differ(kept_back[2:], wanted[2:]) > 1e-3


@pytest.mark.parametrize("is_packed", [False, True])
def test_gradient_checkpointing_changes_no_bit(tokenizer, is_packed, monkeypatch):
    monkeypatch.setattr(lm.Transformer, "packs", is_packed)
    model = make_tiny(tokenizer)
    for budget in (MANY, FEW):
        plain = computed_once(model, CUTS[1], budget)
        model.recompute = True
        again = computed_once(model, CUTS[1], budget)
        model.recompute = False
        assert all(torch.equal(a, b) for a, b in zip(again, plain, strict=True))


def test_a_response_that_follows_another_prompt_would_show(tokenizer, monkeypatch):
    model = make_tiny(tokenizer).double()
    wanted = computed_for_each(model)
    right = AfterPrompt.__init__

    def faulty(self, kept, begin, *rest):
        right(self, kept, [0] * len(begin), *rest)

    monkeypatch.setattr(AfterPrompt, "__init__", faulty)
    assert differ(computed_once(model, CUTS[0], MANY)[:1], wanted[:1]) > 1e-3


def test_each_prompt_is_computed_once(tokenizer, monkeypatch):
    """Of a group of 3 with a prompt of 5 ids, 4 are computed once; the last is a row's first."""
    model = make_tiny(tokenizer)
    tokens = []
    hidden = lm.Transformer.hidden

    def counted(self, ids, attention):
        tokens.append(len(ids))
        return hidden(self, ids, attention)

    monkeypatch.setattr(lm.Transformer, "hidden", counted)
    monkeypatch.setattr(lm.Transformer, "packs", True)
    computed_once(model, CUTS[1], MANY)
    assert sum(tokens) == 4 + 2 + sum(map(len, RESPONSES))
    tokens.clear()
    computed_once(model, CUTS[1], FEW)  # many prompts: once more in backward
    assert sum(tokens) == 2 * (4 + 2) + sum(map(len, RESPONSES))


def test_a_reference_model_keeps_no_gradients(tokenizer):
    model = make_tiny(tokenizer)
    with torch.no_grad():
        shared = lm.SharedPrompts(model, PROMPTS, FEW)
        found, _ = shared.response_logprobs(PROMPTS, RESPONSES, 0.7)
        wanted, _ = lm.response_logprobs(model, PROMPTS, RESPONSES, 0.7)
    assert not shared.kept[0].requires_grad and differ([found], [wanted]) < 1e-5
    shared.backward()  # there is nothing to send back
    assert all(p.grad is None for p in model.parameters())


def test_only_prompts_of_one_id(tokenizer):
    model = make_tiny(tokenizer)
    shared = lm.SharedPrompts(model, [[4], [5]], MANY)
    found, _ = shared.response_logprobs([[4], [5]], [[9, 3], [8]])
    wanted, _ = lm.response_logprobs(model, [[4], [5]], [[9, 3], [8]])
    assert differ([found.detach()], [wanted.detach()]) < 1e-5
    found.sum().backward()
    shared.backward()


@pytest.mark.gpu(least=(8, 0))
@pytest.mark.parametrize("budget", [MANY, FEW])
def test_packed_on_the_gpu_is_padded_on_the_cpu(tokenizer, budget):
    """The kernel lets the last query of a response see all of its keys."""
    model = make_tiny(tokenizer)
    wanted, _ = lm.response_logprobs(model, PROMPTS, RESPONSES)
    model = model.to("cuda", torch.bfloat16)
    assert model.packs
    shared = lm.SharedPrompts(model, PROMPTS, budget)
    found, _ = shared.response_logprobs(PROMPTS, RESPONSES)
    assert (found.cpu() - wanted).abs().max() < 0.05
    found.sum().backward()
    shared.backward()
    shared_gradient = model.layers[0].mlp.down_proj.weight.grad.clone()
    model.zero_grad()
    lm.response_logprobs(model, PROMPTS, RESPONSES)[0].sum().backward()
    assert differ([shared_gradient], [model.layers[0].mlp.down_proj.weight.grad]) < 0.05

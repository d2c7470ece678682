"""Every family computes what transformers computes; the head runs in chunks that change nothing."""

import dataclasses

import pytest
import torch
import transformers
from conftest import make_tiny
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

import model as lm
import sample
from storage import model_folder

SHAPE = dict(
    vocab_size=600,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
    initializer_range=0.2,
    eos_token_id=0,
    bos_token_id=None,
)
# At positions below 100 a context of 48 has fast frequencies, slow ones and some on the ramp between (16 dimensions).
LLAMA3 = dict(
    rope_type="llama3",
    rope_theta=1e3,
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=48,
)
FAMILIES = {
    "qwen2": transformers.Qwen2Config(**SHAPE, tie_word_embeddings=True),
    "qwen2-untied": transformers.Qwen2Config(
        **{**SHAPE, "num_key_value_heads": 1},
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    ),
    "qwen3": transformers.Qwen3Config(**SHAPE, head_dim=16, tie_word_embeddings=True),
    "qwen3-untied-biases": transformers.Qwen3Config(**SHAPE, head_dim=12, attention_bias=True),
    "llama": transformers.LlamaConfig(
        **{**SHAPE, "num_key_value_heads": 4}, tie_word_embeddings=True
    ),
    "llama3": transformers.LlamaConfig(
        **SHAPE, head_dim=16, rope_parameters=LLAMA3, tie_word_embeddings=True
    ),
    "llama3-untied-biases": transformers.LlamaConfig(
        **SHAPE, head_dim=24, rope_parameters=LLAMA3, attention_bias=True, mlp_bias=True
    ),
}


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request, tmp_path_factory, tokenizer):
    """(theirs, ours, folder): random weights of one family, saved by transformers in parts and loaded here."""
    torch.manual_seed(0)
    theirs = transformers.AutoModelForCausalLM.from_config(
        FAMILIES[request.param], dtype=torch.float32
    ).eval()
    with torch.no_grad():
        for p in theirs.parameters():
            if p.dim() == 1:  # norms and biases, which begin as ones and zeros
                p.add_(torch.randn(p.shape) * 0.3)
    folder = tmp_path_factory.mktemp(request.param)
    theirs.save_pretrained(folder, max_shard_size="40KB")
    tokenizer.save_pretrained(folder)
    assert (folder / model_folder.INDEX).is_file()
    return theirs, lm.load(str(folder))[0], folder


def test_rotary_frequencies_are_those_of_transformers_to_the_bit(pair):
    theirs, ours, _ = (
        pair  # an ulp here is 3e-3 in the logits at position 16,000 of a model with large weights
    )
    assert torch.equal(theirs.model.rotary_emb.inv_freq, lm.rope_frequency(ours.config))


IDS = torch.randint(0, 600, (2, 96), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def gap(theirs, ours):
    return (theirs(IDS).logits - ours(IDS)).abs().max().item()


@torch.no_grad()
@pytest.mark.parametrize("chunks", [[96], [90, 6], [1] * 96])
def test_logits_are_those_of_transformers_prefilled_and_token_by_token(pair, chunks):
    theirs, ours, _ = pair
    expected, cache = theirs(IDS).logits, ours.cache(2, 96)
    assert (ours(IDS) - expected).abs().max() < 1e-4
    cached = torch.cat([ours(part, cache) for part in IDS.split(chunks, 1)], 1)
    assert (cached - expected).abs().max() < 1e-4 and expected.std() > 0.5


def no_bias(model, name):
    for found, part in lm.checkpoint_tensors(model).items():  # views
        if found.endswith(f"{name}.bias"):
            part.zero_()


@torch.no_grad()
def test_the_comparison_notices_every_feature_that_is_left_out(pair):
    theirs, _, folder = pair

    def without(leave_out):
        ours, _ = lm.load(str(folder))
        leave_out(ours)
        return gap(theirs, ours)

    biases = {
        name.split(".")[-2] for name, _ in theirs.named_parameters() if name.endswith(".bias")
    }
    assert (
        biases
        == {
            "qwen2": {"q_proj", "k_proj", "v_proj"},
            "qwen3": {"q_proj", "k_proj", "v_proj", "o_proj"},
            "llama": {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
        }[theirs.config.model_type]
        or not biases
    )
    for name in biases:
        assert without(lambda m: no_bias(m, name)) > 1e-2, name
    if theirs.config.model_type == "qwen3":
        assert (
            without(lambda m: [setattr(layer.self_attn, "normalised", False) for layer in m.layers])
            > 1e-2
        )
    changes = [dict(rope_theta=5e3)] + [dict(rope_scaling=None)] * (
        theirs.config.rope_parameters["rope_type"] == "llama3"
    )
    for change in changes:
        assert (
            without(lambda m: setattr(m, "config", dataclasses.replace(m.config, **change))) > 1e-2
        )
    assert without(lambda m: None) < 1e-4


@torch.no_grad()
def test_greedy_rollouts_of_a_ragged_batch_are_those_of_transformers(pair, tokenizer):
    theirs, ours, _ = pair
    g = torch.Generator().manual_seed(2)
    prompts = [
        torch.randint(1, 600, (n,), generator=g).tolist() for n in (1, 2, 3, 5, 8, 13, 21, 34)
    ]
    padded = torch.tensor([[9] * (34 - len(p)) + p for p in prompts])  # what stands there is masked
    mask = torch.tensor([[0] * (34 - len(p)) + [1] * len(p) for p in prompts])
    found = theirs.generate(
        padded,
        attention_mask=mask,
        max_new_tokens=64,
        do_sample=False,
        eos_token_id=0,
        pad_token_id=0,
    )
    rollouts = sample.generate(
        ours, tokenizer, prompts, sample.Sampling(64, temperature=0), slots=5
    )
    for row, rollout in zip(found[:, 34:].tolist(), rollouts):
        assert rollout.finished == (0 in row)
        assert rollout.response == (row[: row.index(0) + 1] if 0 in row else row)
    assert (
        sum(len(r.response) for r in rollouts) > 4 * 64
        and len({tuple(r.response) for r in rollouts}) == 8
    )


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_folder_saved_here_loads_there_and_here_with_the_same_bytes(
    pair, tokenizer, tmp_path, dtype
):
    theirs, _, folder = pair
    ours, _ = lm.load(str(folder), dtype=dtype)
    lm.save(tmp_path / "a", ours, tokenizer)
    there = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "a", dtype=dtype)
    state = theirs.state_dict()
    assert (
        there.config.model_type == theirs.config.model_type
        and there.state_dict().keys() == state.keys()
    )
    assert all(torch.equal(p, state[name].to(dtype)) for name, p in there.state_dict().items())
    if dtype == torch.float32:
        assert (
            there(IDS).logits - theirs(IDS).logits
        ).abs().max() < 1e-6  # so config.json says the same
    again, _ = lm.load(str(tmp_path / "a"), dtype=dtype)
    assert again.config == ours.config
    lm.save(tmp_path / "b", again, tokenizer)
    first, second = (load_file(tmp_path / name / model_folder.WEIGHTS) for name in "ab")
    assert first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )
    assert (tmp_path / "a" / "config.json").read_bytes() == (
        tmp_path / "b" / "config.json"
    ).read_bytes()


def test_rotary_frequencies_stay_fp32_in_a_bf16_model(pair):
    _, _, folder = pair
    ours = lm.load(str(folder), dtype=torch.bfloat16)[0].to(torch.bfloat16)
    frequency = lm.rope_frequency(ours.config)
    at, dtype = torch.tensor([100_000]), torch.float64
    exact = lm.rope_angles(frequency.double(), at, dtype)[0]
    assert (lm.rope_angles(frequency, at, dtype)[0] - exact).abs().max() < 0.01
    assert (
        lm.rope_angles(frequency.bfloat16(), at, dtype)[0] - exact
    ).abs().max() > 0.5  # the fault of a cast buffer
    # The table is made from them in fp32 and rounded once.
    cos, sin = ours.rope(torch.arange(2000), 2000)
    expected = lm.rope_angles(frequency, torch.arange(2000), torch.bfloat16)
    assert torch.equal(cos[:, 0], expected[0]) and torch.equal(sin[:, 0], expected[1])


# ---------------------------------------------------------------- the head in chunks


def gradients(model):
    """(gradients of a weighted sum of log-probs, the log-probs, entropies) of 40 response positions."""
    g = torch.Generator().manual_seed(3)
    prompts, responses = (
        [torch.randint(0, 500, (n,), generator=g).tolist() for n in lengths]
        for lengths in ((3, 9, 1, 4), (11, 2, 7, 20))
    )
    logprobs, entropy = lm.response_logprobs(model, prompts, responses, 0.7)
    (logprobs * torch.linspace(-1, 1, logprobs.numel()).view_as(logprobs)).sum().backward()
    found = torch.cat(
        [torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in model.parameters()]
    )
    model.zero_grad()
    return found, logprobs.detach(), entropy


@pytest.mark.parametrize("size", [1, 7, 39])
@pytest.mark.parametrize("tied", [True, False])
def test_chunks_of_the_head_change_neither_values_nor_gradients(tokenizer, tied, size, monkeypatch):
    model, plain = make_tiny(tokenizer, tie_word_embeddings=tied).double(), lm.token_logprobs
    whole, row = gradients(model), 4 * model.config.vocab_size
    monkeypatch.setattr(lm, "LOGITS_BYTES", 40 * row)
    assert all(
        torch.equal(a, b) for a, b in zip(gradients(model), whole)
    )  # one chunk is the plain computation
    monkeypatch.setattr(lm, "LOGITS_BYTES", size * row + 3)
    for a, b in zip(gradients(model), whole):
        assert (a - b).abs().max() <= 1e-6 * b.abs().max() and b.abs().max() > 0.1
    for fault in (
        lambda m, hidden, *rest: plain(m, hidden.detach(), *rest),  # no gradient into the layers
        lambda m, hidden, targets, T: plain(m, hidden, targets, 1.0),
    ):
        monkeypatch.setattr(lm, "token_logprobs", fault)
        assert (gradients(model)[0] - whole[0]).abs().max() > 1e-2 * whole[0].abs().max()


class LargestLogits(TorchDispatchMode):
    """Notes the bytes of the largest tensor that has a vocabulary dimension and is not shaped like the embedding."""

    def __init__(self, V, C):
        super().__init__()
        self.V, self.allowed, self.bytes = V, ((V, C), (C, V)), 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for t in out if isinstance(out, (tuple, list)) else (out,):
            if (
                isinstance(t, torch.Tensor)
                and self.V in t.shape
                and tuple(t.shape) not in self.allowed
            ):
                self.bytes = max(self.bytes, t.numel() * t.element_size())
        return out


@pytest.mark.parametrize("tied", [True, False])
def test_no_tensor_of_logits_exceeds_256_mb_forward_or_backward(tied, monkeypatch):
    V, C = 151_936, 8
    model = lm.Transformer(lm.ModelConfig(V, C, 8, 1, 2, 1, tie_word_embeddings=tied))
    prompts, responses = [[1, 2], [3]], [[4, 5] * 110, [6, 7] * 111]  # 442 positions: 421 fit

    def largest():
        with LargestLogits(V, C) as seen:
            lm.response_logprobs(model, prompts, responses)[0].sum().backward()
        return seen.bytes

    assert 128e6 < largest() <= 256e6
    monkeypatch.setattr(lm, "LOGITS_BYTES", 2**40)
    assert largest() == 442 * V * 4 > 256e6  # the fault shows


@pytest.mark.parametrize("rows_at_a_time", [1, 3, 100])
def test_the_gradient_that_is_written_out_is_autograds(rows_at_a_time, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 50, generator=generator, requires_grad=True)
    targets = torch.randint(50, (7,), generator=generator)
    weights = torch.randn(7, generator=generator)
    monkeypatch.setattr(lm, "CACHED_BYTES", rows_at_a_time * 4 * 50)
    found, entropy = lm.PickedLogprobs.apply(logits, targets, 0.7)
    (gradient,) = torch.autograd.grad((found * weights).sum(), logits)
    logprobs = (logits / 0.7).log_softmax(1)
    expected = logprobs[torch.arange(7), targets]
    (expected_gradient,) = torch.autograd.grad((expected * weights).sum(), logits)
    assert (found - expected).abs().max() < 1e-5
    assert (gradient - expected_gradient).abs().max() < 1e-5
    assert (entropy + (logprobs.exp() * logprobs).sum(1)).abs().max() < 1e-5

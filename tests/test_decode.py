"""The decode step computes what the model computes, and neither looking seldom nor graphs change a rollout."""
import pytest
import torch
from conftest import make_tiny

import model as lm
import optim
import sample
from sample import Sampling

SHAPES = {"qwen2": dict(), "one head": dict(num_key_value_heads=1), "all heads": dict(num_key_value_heads=4),
          "qwen3": dict(model_type="qwen3", head_dim=16), "llama": dict(model_type="llama", attention_bias=True, mlp_bias=True),
          "untied": dict(tie_word_embeddings=False)}
PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13], [14, 15]]
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def decoder_with_a_past(model, lengths: list[int], capacity: int = 20):
    """A decoder whose rows hold random ids of these lengths, and a cache of the plain model that holds the same."""
    device, dtype = model.device, model.embed_tokens.weight.dtype
    ids = torch.randint(1, 500, (len(lengths), capacity), device=device)
    plain = lm.KVCache(model.config, len(lengths), capacity, device, dtype)
    with torch.no_grad():
        model.hidden(ids[:, :max(lengths)], plain, new=torch.tensor(lengths, device=device))
    d = Decoder(model, len(lengths)).make_room(capacity, 8)
    d.cache.kv.copy_(plain.kv)
    d.cache.lengths.copy_(plain.lengths)
    d.pending.copy_(ids[:, -1])
    return d, plain


@torch.no_grad()
@pytest.mark.parametrize("shape", SHAPES)
def test_the_decode_step_is_the_plain_model_with_a_cache(tokenizer, shape):
    model = make_tiny(tokenizer, **SHAPES[shape])
    d, plain = decoder_with_a_past(model, [3, 12, 7, 1])
    for spans in ([(4, 13)], [(2, 13)], [(1, 4), (3, 13)]):
        rows = sum(n for n, _ in spans)
        expected = model(d.pending[:rows, None], plain, new=0)[:, 0]
        found = d.logits(spans)
        assert (found - expected).abs().max() < 1e-4 * expected.abs().max()
        assert (d.cache.kv - plain.kv).abs().max() < 1e-4  # and the new keys and values went where they belong
    d.cache.lengths += 1
    assert (d.logits([(4, 14)]) - expected).abs().max() > 1e-2 * expected.abs().max()  # a wrong position shows


@torch.no_grad()
def test_in_bf16_it_is_the_plain_model_to_rounding(tokenizer):
    model = make_tiny(tokenizer).to(torch.bfloat16)
    with torch.no_grad():
        for p in model.parameters():  # weights of the usual size: with ten times that, bf16 says little
            p.div_(10) if p.dim() > 1 else None
    d, plain = decoder_with_a_past(model, [3, 12, 7, 1])
    expected = model(d.pending[:, None], plain, new=0)[:, 0].float().log_softmax(-1)
    assert (d.logits([(4, 13)]).float().log_softmax(-1) - expected).abs().max() < 1e-2


# ---------------------------------------------------------------- the weights are the model's own

def test_adjoined_weights_stay_the_models_and_follow_it(tiny, tokenizer, tmp_path):
    before = {name: p.clone() for name, p in tiny.named_parameters()}
    optimizer = optim.MasterAdamW(tiny)
    d = Decoder(tiny, 1).make_room(8, 4)
    assert all(torch.equal(p, before[name]) for name, p in tiny.named_parameters())
    tiny(torch.tensor([[1, 2, 3]])).square().mean().backward()
    optimizer.step(1e-2, 1.0)
    attention = tiny.layers[0].self_attn
    assert not torch.equal(attention.k_proj.weight, before["layers.0.self_attn.k_proj.weight"])
    assert torch.equal(d.weights[0].qkv[0], torch.cat([attention.q_proj.weight, attention.k_proj.weight,
                                                       attention.v_proj.weight]))  # updated in place, nothing to refresh
    lm.save(tmp_path / "saved", tiny, tokenizer)
    again, _ = lm.load(str(tmp_path / "saved"))
    assert all(torch.equal(p, q) for p, q in zip(tiny.parameters(), again.parameters()))


def test_a_model_that_has_moved_is_taken_up_anew(tiny):
    d = Decoder(tiny, 1).make_room(8, 4)
    old = d.weights[0].wide[0]
    d.make_room(8, 4)
    assert d.weights[0].wide[0].data_ptr() == old.data_ptr()  # nothing was copied
    for p in tiny.parameters():
        p.data = p.data + 1
    d.graphs["a graph"] = None
    d.make_room(8, 4)
    assert torch.equal(d.weights[0].wide[0], old + 1) and not d.graphs


# ---------------------------------------------------------------- neither looks nor graphs change a rollout

class Replay:
    """Stands for a CUDA graph on a CPU: it does the step that it was captured of."""

    def __init__(self, decoder, rows, span, sampling):
        self.replay = lambda: decoder.step([(rows, span)], sampling)


def graphed(model, monkeypatch, slots, capacity, new_tokens):
    monkeypatch.setattr(decode, "SPAN", 8)
    monkeypatch.setattr(Decoder, "capture", lambda *of: Replay(*of))
    d = Decoder(model, slots).make_room(capacity, new_tokens)
    d.graphed = True
    return d


def same(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.response == theirs.response and ours.finished == theirs.finished
        assert torch.allclose(torch.tensor(ours.logprobs), torch.tensor(theirs.logprobs), atol=1e-4)


@pytest.mark.parametrize("strings", [(), ("7", "a b")])
@pytest.mark.parametrize("slots", [3, 20])
@pytest.mark.parametrize("look", [2, 7, 100])
def test_how_often_the_host_looks_changes_nothing(tiny, tokenizer, strings, slots, look):
    tiny.stop_ids, sampling = tuple(range(30)), Sampling(40, stop_strings=strings)
    expected = sample.generate(tiny, tokenizer, PROMPTS, sampling, n=5, seed=7)
    assert {r.finished for r in expected} == {True, False} and len({len(r.response) for r in expected}) > 4
    done = []
    found = sample.generate(tiny, tokenizer, PROMPTS, sampling, n=5, seed=7, slots=slots, look=look,
                            on_done=lambda i, r: done.append(i))
    same(found, expected)
    assert sorted(done) == list(range(20))


@pytest.mark.parametrize("slots,look", [(20, 1), (20, 16), (7, 5)])
def test_the_graphs_path_is_the_plain_path(tiny, tokenizer, monkeypatch, slots, look):
    tiny.stop_ids = tuple(range(30))
    expected = sample.generate(tiny, tokenizer, PROMPTS, Sampling(40), n=5, seed=7)
    d = graphed(tiny, monkeypatch, slots, 45, 40)
    for _ in range(2):  # the second time with its buffers full of the first
        same(sample.generate(tiny, tokenizer, PROMPTS, Sampling(40), n=5, seed=7, decoder=d, look=look), expected)
    rows, spans = {key[0] for key in d.graphs}, {key[1] for key in d.graphs}
    assert rows <= {1, 2, 4, 8, 16, slots} and spans <= {*range(8, 45, 8), 45} and len(d.graphs) >= 3


def test_a_decoder_that_is_too_small_grows(tiny, tokenizer, monkeypatch):
    d = graphed(tiny, monkeypatch, 4, 12, 6)
    sample.generate(tiny, tokenizer, PROMPTS, Sampling(6), decoder=d)
    assert d.graphs
    expected = sample.generate(tiny, tokenizer, PROMPTS, Sampling(40), seed=7)
    same(sample.generate(tiny, tokenizer, PROMPTS, Sampling(40), seed=7, decoder=d), expected)
    assert d.capacity == 45 and d.cache.k.shape[1:4:2] == (4, 45)


def test_each_rollout_may_have_a_limit_of_its_own(tiny, tokenizer):
    limits = [1, 40, 3, 17, 2, 5, 8, 40]
    expected = sample.generate(tiny, tokenizer, PROMPTS, Sampling(40), n=2, seed=7)
    for look in (1, 6):
        found = sample.generate(tiny, tokenizer, PROMPTS, Sampling(40), n=2, seed=7, limits=limits, slots=3, look=look)
        for r, whole, limit in zip(found, expected, limits):
            assert r.response == whole.response[:limit]
            assert r.finished == (whole.finished and len(whole.response) <= limit)


def test_a_frozen_row_draws_nothing_more(tiny, tokenizer):
    tiny.stop_ids = ()
    d, _ = decoder_with_a_past(tiny, [3, 5])
    d.alive[0], d.limit[:] = True, 4
    d.advance([(2, 5)], 6, Sampling(8))
    assert d.count.tolist() == [4, 0] and d.cache.lengths.tolist() == [7, 5] and not d.alive.any()


def test_on_a_cpu_the_longest_rows_stand_in_front_and_the_others_read_less(tiny, tokenizer, monkeypatch):
    tiny.stop_ids, seen, logits = (), [], Decoder.logits

    def spy(d, spans):
        assert all(int(d.cache.lengths[:sum(n for n, _ in spans)].split([n for n, _ in spans])[i].max()) < span
                   for i, (_, span) in enumerate(spans))
        seen.append(spans)
        return logits(d, spans)
    monkeypatch.setattr(Decoder, "logits", spy)
    prompts, limits = PROMPTS * 4, [1 + i * 29 % 40 for i in range(5 * 4 * len(PROMPTS))]
    many = sample.generate(tiny, tokenizer, prompts, Sampling(40), n=5, seed=3, limits=limits, slots=16)
    assert {len(spans) for spans in seen} == {1, 2}
    seen.clear()
    same(many, sample.generate(tiny, tokenizer, prompts, Sampling(40), n=5, seed=3, limits=limits, slots=3))
    assert {len(spans) for spans in seen} == {1}  # a quarter of three slots is none


# ---------------------------------------------------------------- on a GPU

@cuda
@pytest.mark.parametrize("shape", SHAPES)
def test_on_a_gpu_graphs_draw_the_ids_of_the_plain_path_in_fp32(tokenizer, shape):
    model = make_tiny(tokenizer, **SHAPES[shape]).cuda()
    d = Decoder(model, 20).make_room(45, 40)
    plain = Decoder(model, 20).make_room(45, 40)
    plain.capture = lambda *of: Replay(plain, *of)  # the same kernels, without a graph
    for seed in range(3):
        same(sample.generate(model, tokenizer, PROMPTS, Sampling(40), n=5, seed=seed, decoder=d),
             sample.generate(model, tokenizer, PROMPTS, Sampling(40), n=5, seed=seed, decoder=plain))
    assert d.graphs.keys() == plain.graphs.keys()


@cuda
@torch.no_grad()
@pytest.mark.parametrize("head_dim", [64, 128])
def test_on_a_gpu_in_bf16_the_kernel_is_the_plain_model_to_rounding(tokenizer, head_dim):
    torch.manual_seed(0)
    model = make_tiny(tokenizer, hidden_size=4 * head_dim, intermediate_size=512)
    for p in model.parameters():
        p.div_(10) if p.dim() > 1 else None
    model = model.to("cuda", torch.bfloat16)
    d, plain = decoder_with_a_past(model, [3, 600, 70, 1], capacity=700)
    expected = model(d.pending[:, None], plain, new=0)[:, 0].float().log_softmax(-1)
    assert (d.logits([(4, 700)]).float().log_softmax(-1) - expected).abs().max() < 1e-2


@cuda
def test_on_a_gpu_capturing_changes_no_row(tokenizer):
    model = make_tiny(tokenizer).cuda()
    d, _ = decoder_with_a_past(model, [3, 5])
    d.alive[:], d.limit[:] = True, 4
    before = [t.clone() for t in (d.pending, d.alive, d.count, d.cache.lengths)]
    with torch.inference_mode():
        d.capture(2, 20, Sampling(8))
    assert all(torch.equal(a, b) for a, b in zip(before, (d.pending, d.alive, d.count, d.cache.lengths)))

"""The decode step is the model's own, and neither seldom checks nor graphs change a rollout."""

import pytest
import torch
from conftest import make_tiny, prefill

import model as lm
import sample
from engine import decoder
from engine import optimizer as optim
from engine.attention import Cached
from engine.decoder import Decoder
from sample import Sampling

SHAPES = {
    "qwen2": dict(),
    "one head": dict(num_key_value_heads=1),
    "all heads": dict(num_key_value_heads=4),
    "qwen3": dict(model_type="qwen3", head_dim=16),
    "llama": dict(model_type="llama", attention_bias=True, mlp_bias=True),
    "untied": dict(tie_word_embeddings=False),
}
PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13], [14, 15]]


def decoder_with_a_past(model, lengths: list[int], capacity: int = 20):
    """A decoder whose rows hold random ids of these lengths, and a cache of the plain model that holds the same."""
    ids = torch.randint(1, 500, (len(lengths), capacity), device=model.device)
    plain = model.cache(len(lengths), capacity)
    prefill(model, plain, ids[:, : max(lengths)], lengths)
    d = Decoder(model, len(lengths)).make_room(capacity, 8)
    d.cache.kv.copy_(plain.kv)
    d.cache.lengths.copy_(plain.lengths)
    d.pending.copy_(ids[:, -1])
    return d, plain


def next_logits(model, ids, cache):
    """What the model says after one more id a row, without the cache's growing."""
    span = int(cache.lengths.max()) + 2
    two_new = Cached(cache, [(len(ids), span)], new=2)  # two: the other code
    hidden = model.hidden(ids.repeat_interleave(2), two_new)
    return model.head(hidden)[::2]


@torch.no_grad()
@pytest.mark.parametrize("shape", SHAPES)
def test_the_decode_step_is_the_plain_model_with_a_cache(tokenizer, shape):
    model = make_tiny(tokenizer, **SHAPES[shape])
    d, plain = decoder_with_a_past(model, [3, 12, 7, 1])
    for spans in ([(4, 13)], [(2, 13)], [(1, 4), (3, 13)]):
        in_use = sum(slots for slots, _ in spans)
        expected = next_logits(model, d.pending[:in_use], plain)
        found = d.logits(spans)
        assert (found - expected).abs().max() < 1e-4 * expected.abs().max()
        for b, length in enumerate(plain.lengths.tolist()):
            # New keys and values went where they belong.
            ours = d.cache.kv[:, :, b, :, : length + 1]
            theirs = plain.kv[:, :, b, :, : length + 1]
            assert (ours - theirs).abs().max() < 1e-4
    d.cache.lengths += 1
    wrong = d.logits([(4, 14)])
    assert (wrong - expected).abs().max() > 1e-2 * expected.abs().max()  # the position shows


@torch.no_grad()
def test_in_bf16_it_is_the_plain_model_to_rounding(tokenizer):
    model = make_tiny(tokenizer).to(torch.bfloat16)
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() > 1:
                p.div_(10)  # the usual size: with ten times that, bf16 says little
    d, plain = decoder_with_a_past(model, [3, 12, 7, 1])
    expected = next_logits(model, d.pending, plain).float().log_softmax(-1)
    assert (d.logits([(4, 13)]).float().log_softmax(-1) - expected).abs().max() < 1e-2


# ---------------------------------------------------------------- the weights are the model's own


def test_the_decode_step_follows_an_update_and_so_does_a_saved_folder(tiny, tokenizer, tmp_path):
    optimizer = optim.MasterAdamW(tiny)
    d, plain = decoder_with_a_past(tiny, [3, 5])
    with torch.no_grad():
        before = d.logits([(2, 6)])
    tiny(torch.tensor([[1, 2, 3]])).square().mean().backward()
    optimizer.step(1e-2, 1.0)
    with torch.no_grad():
        after = d.logits([(2, 6)])
        expected = next_logits(tiny, d.pending, d.cache)
    assert (after - expected).abs().max() < 1e-4 < (after - before).abs().max()
    lm.save(tmp_path / "saved", tiny, tokenizer)
    again, _ = lm.load(str(tmp_path / "saved"))
    assert all(torch.equal(p, q) for p, q in zip(tiny.parameters(), again.parameters()))


def test_graphs_of_weights_that_have_moved_are_dropped(tiny):
    d = Decoder(tiny, 1).make_room(8, 4)
    d.graphs["a graph"] = None
    d.make_room(8, 4)
    assert d.graphs  # nothing has moved
    for p in tiny.parameters():
        p.data = p.data + 1
    d.make_room(8, 4)
    assert not d.graphs
    d.graphs["a graph"] = None
    kept = tiny.rope_table  # or the next one could be made in its place
    tiny.rope_table = None
    d.make_room(8, 4)
    assert not d.graphs and kept is not None  # the table of rotations has moved


# ---------------------------------------------------------------- neither checks nor graphs change a rollout


class Replay:
    """Stands for a CUDA graph on a CPU: it does the step that it was captured of."""

    def __init__(self, d, slots, positions, decode_step, sampling):
        self.replay = lambda: decode_step(d, [(slots, positions)], sampling)


def graphed(model, monkeypatch, slots, capacity, new_tokens):
    monkeypatch.setattr(decoder, "GRAPH_POSITIONS", 8)
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
@pytest.mark.parametrize("check_every", [2, 7, 100])
def test_how_often_the_host_checks_changes_nothing(tiny, tokenizer, strings, slots, check_every):
    tiny.stop_ids = tuple(range(30))
    sampling = Sampling(40, stop_strings=strings)
    expected = sample.generate(tiny, tokenizer, PROMPTS, sampling, n=5, seed=7)
    assert {r.finished for r in expected} == {True, False}
    assert len({len(r.response) for r in expected}) > 4
    done = []
    found = sample.generate(
        tiny,
        tokenizer,
        PROMPTS,
        sampling,
        n=5,
        seed=7,
        slots=slots,
        check_every=check_every,
        on_done=lambda i, r: done.append(i),
    )
    same(found, expected)
    assert sorted(done) == list(range(20))


@pytest.mark.parametrize("slots,check_every", [(20, 1), (20, 16), (7, 5)])
def test_the_graphs_path_is_the_plain_path(tiny, tokenizer, monkeypatch, slots, check_every):
    tiny.stop_ids = tuple(range(30))
    expected = sample.generate(tiny, tokenizer, PROMPTS, Sampling(40), n=5, seed=7)
    d = graphed(tiny, monkeypatch, slots, 45, 40)
    for _ in range(2):  # the second time with its buffers full of the first
        settings = dict(decoder=d, check_every=check_every)
        found = sample.generate(tiny, tokenizer, PROMPTS, Sampling(40), n=5, seed=7, **settings)
        same(found, expected)
    captured = {key[0] for key in d.graphs}
    positions = {key[1] for key in d.graphs}
    assert captured <= {1, 2, 4, 8, 16, slots}
    assert positions <= {*range(8, 45, 8), 45}
    assert len(d.graphs) >= 3


def test_a_decoder_that_is_too_small_grows(tiny, tokenizer, monkeypatch):
    d = graphed(tiny, monkeypatch, 4, 12, 6)
    sample.generate(tiny, tokenizer, PROMPTS, Sampling(6), decoder=d)
    assert d.graphs
    expected = sample.generate(tiny, tokenizer, PROMPTS, Sampling(40), seed=7)
    same(sample.generate(tiny, tokenizer, PROMPTS, Sampling(40), seed=7, decoder=d), expected)
    assert d.capacity == 45 and d.cache.kv.shape[2:5:2] == (4, 45)


def test_each_rollout_may_have_a_limit_of_its_own(tiny, tokenizer):
    limits = [1, 40, 3, 17, 2, 5, 8, 40]
    expected = sample.generate(tiny, tokenizer, PROMPTS, Sampling(40), n=2, seed=7)
    for check_every in (1, 6):
        settings = dict(limits=limits, slots=3, check_every=check_every)
        found = sample.generate(tiny, tokenizer, PROMPTS, Sampling(40), n=2, seed=7, **settings)
        for r, whole, limit in zip(found, expected, limits):
            assert r.response == whole.response[:limit]
            assert r.finished == (whole.finished and len(whole.response) <= limit)


def test_a_frozen_row_draws_nothing_more(tiny, tokenizer):
    tiny.stop_ids = ()
    d, _ = decoder_with_a_past(tiny, [3, 5])
    d.alive[0] = True
    d.limit[:] = 4
    d.advance([(2, 6)], 6, sample.decode_step, Sampling(8))
    assert d.count.tolist() == [4, 0] and d.cache.lengths.tolist() == [7, 5] and not d.alive.any()


def test_on_a_cpu_the_longest_rows_stand_in_front_and_the_others_read_less(
    tiny, tokenizer, monkeypatch
):
    tiny.stop_ids = ()
    seen = []
    logits = Decoder.logits

    def spy(d, spans):
        first = 0
        for slots, positions in spans:  # the new position included
            assert int(d.cache.lengths[first : first + slots].max()) < positions
            first += slots
        seen.append(spans)
        return logits(d, spans)

    monkeypatch.setattr(Decoder, "logits", spy)
    prompts = PROMPTS * 4
    limits = [1 + i * 29 % 40 for i in range(5 * len(prompts))]
    settings = dict(n=5, seed=3, limits=limits)
    many = sample.generate(tiny, tokenizer, prompts, Sampling(40), slots=16, **settings)
    assert {len(spans) for spans in seen} == {1, 2}
    seen.clear()
    few = sample.generate(tiny, tokenizer, prompts, Sampling(40), slots=3, **settings)
    same(many, few)
    assert {len(spans) for spans in seen} == {1}  # a quarter of three slots is none


# ---------------------------------------------------------------- on a GPU


@pytest.mark.gpu
@pytest.mark.parametrize("shape", SHAPES)
def test_on_a_gpu_graphs_draw_the_ids_of_the_plain_path_in_fp32(tokenizer, shape):
    model = make_tiny(tokenizer, **SHAPES[shape]).cuda()
    d = Decoder(model, 20).make_room(45, 40)
    plain = Decoder(model, 20).make_room(45, 40)
    plain.capture = lambda *of: Replay(plain, *of)  # the same kernels, without a graph
    for seed in range(3):
        same(
            sample.generate(model, tokenizer, PROMPTS, Sampling(40), n=5, seed=seed, decoder=d),
            sample.generate(model, tokenizer, PROMPTS, Sampling(40), n=5, seed=seed, decoder=plain),
        )
    assert d.graphs.keys() == plain.graphs.keys()


@pytest.mark.gpu
@torch.no_grad()
@pytest.mark.parametrize("head_dim", [64, 128])
def test_on_a_gpu_in_bf16_the_kernel_is_the_plain_model_to_rounding(tokenizer, head_dim):
    torch.manual_seed(0)
    model = make_tiny(tokenizer, hidden_size=4 * head_dim, intermediate_size=512)
    for p in model.parameters():
        if p.dim() > 1:
            p.div_(10)
    model = model.to("cuda", torch.bfloat16)
    d, plain = decoder_with_a_past(model, [3, 600, 70, 1], capacity=700)
    expected = next_logits(model, d.pending, plain).float().log_softmax(-1)
    assert (d.logits([(4, 700)]).float().log_softmax(-1) - expected).abs().max() < 1e-2


@pytest.mark.gpu
def test_on_a_gpu_capturing_changes_no_row(tokenizer):
    model = make_tiny(tokenizer).cuda()
    d, _ = decoder_with_a_past(model, [3, 5])
    d.alive[:] = True
    d.limit[:] = 4
    buffers = (d.pending, d.alive, d.count, d.cache.lengths)
    before = [buffer.clone() for buffer in buffers]
    with torch.no_grad():
        d.capture(2, 20, sample.decode_step, Sampling(8))
    assert all(torch.equal(a, b) for a, b in zip(before, buffers))

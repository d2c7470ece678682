"""The code for a GPU, run without one: on fake tensors at its real size, and with flash attention for CPU tensors.

Fake tensors show a wrong type, device or shape, what no CUDA graph can hold, what the host waits for, and how much work
there is. The values are held against the plain model by `flash_cpu`.
"""

import contextlib
import inspect
from dataclasses import replace

import flash_cpu
import pytest
import torch
from conftest import make_tiny
from test_decode import PROMPTS, SHAPES, decoder_with_a_past, graphed, same
from torch.nn.attention.varlen import varlen_attn

import bench
import engine.device
import grpo
import model as lm
import sample
import train
from config import UserError
from engine import memory
from engine.batches import LARGE_LOGITS_BYTES, logits_positions
from engine.decoder import Decoder
from engine.memory import Setup
from sample import Sampling
from speed import counted, fake_gpu
from speed.memory import SHAPES as REAL

QWEN = replace(REAL["qwen2.5-1.5b"], num_hidden_layers=2)
SAMPLINGS = {
    "plain": Sampling(1024),
    "warm": Sampling(1024, temperature=0.6),
    "greedy": Sampling(1024, temperature=0.0),
    "cut": Sampling(1024, 0.7, 50, 0.95, 0.01),
}
KERNELS_OF_A_LAYER = 17  # of a decode step
# Of an update of Qwen2.5-1.5B on 8 responses of 1,024 tokens to a prompt of 256: kilobytes an id that are moved beside
# products and attention, of one layer and of the head.
KB_OF_A_LAYER = 541
KB_OF_THE_HEAD = 11_231


# ---------------------------------------------------------------- decoding


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", SAMPLINGS)
def test_a_decode_step_can_be_captured(dtype, name):
    with fake_gpu.on_cuda() as noted:
        model = fake_gpu.model_of(QWEN, dtype, "cuda:0")
        model.stop_ids = (151643, 151645)
        decoder = Decoder(model, 256).make_room(1536, 1024)
        assert decoder.graphed and decoder.flash == (dtype == torch.bfloat16)
        noted.clear()
        with fake_gpu.Watch(seen=600) as watch:
            sample.decode_step(decoder, [(256, 768)], SAMPLINGS[name])
        assert not noted.reads and not noted.sent and not watch.refused
        assert watch.calls["_flash_attention_forward"] == (2 if decoder.flash else 0)


def test_what_a_graph_cannot_hold_would_show():
    with fake_gpu.on_cuda() as noted:
        tensor = torch.empty(4, device="cuda:0")
        with fake_gpu.Watch() as watch:
            tensor[[1, 2]] = 0.0
            float(tensor.sum())
            tensor.cpu()
            with pytest.raises(RuntimeError):
                tensor[tensor > 0]
        assert noted.sent == [(2,)] and noted.reads == [("__float__", ())]
        assert [kind for kind, _ in watch.refused] == ["_to_copy"]


def test_a_decode_step_launches_as_few_kernels_as_ever():
    one = counted.decode_step(replace(QWEN, num_hidden_layers=1), 256, 600).watch
    two = counted.decode_step(QWEN, 256, 600).watch
    assert two.kernels - one.kernels == KERNELS_OF_A_LAYER


@torch.no_grad()
def test_a_packed_prefill_waits_for_nothing():
    with fake_gpu.on_cuda() as noted:
        model = fake_gpu.model_of(QWEN, torch.bfloat16, "cuda:0")
        model.make_rope_table(1024)
        noted.clear()
        with fake_gpu.Watch() as watch:
            sample.PrefilledPrompts(model, [[1] * n for n in (256, 3, 77)], 16384).prefill_from(0)
        assert not noted.reads and not noted.sent
        assert watch.calls["_varlen_attn"] == 2


class Captured:
    """Stands for a graph; says under which modes it was captured."""

    modes = []

    def __init__(self, decoder, slots, positions, decode_step, sampling):
        self.modes.append((torch.is_inference_mode_enabled(), torch.is_grad_enabled()))

    def replay(self):
        pass


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, contextlib.nullcontext])
def test_graphs_are_captured_under_no_grad_whatever_the_caller_is_under(tiny, mode, monkeypatch):
    """A first capture in inference mode and a later one beyond it fail: pytorch's issue 166792."""
    monkeypatch.setattr(Decoder, "capture", lambda *of: Captured(*of))
    decoder = Decoder(tiny, 4).make_room(45, 40)
    decoder.graphed = True
    Captured.modes.clear()
    with mode():
        decoder.advance([(4, 9)], 1, sample.decode_step, Sampling(8))
        decoder.advance([(2, 9)], 1, sample.decode_step, Sampling(8))
    assert Captured.modes == [(False, False)] * 2


def test_under_flash_one_graph_serves_all_lengths(tiny, monkeypatch):
    monkeypatch.setattr(Decoder, "capture", lambda *of: Captured(*of))
    decoder = Decoder(tiny, 4).make_room(1536, 1024)
    decoder.graphed = True
    for packs, graphs in ((False, 6), (True, 1)):
        monkeypatch.setattr(lm.Transformer, "packs", packs)
        decoder.graphs = {}
        for positions in range(1, 1536, 16):
            decoder.advance([(4, positions)], 16, sample.decode_step, Sampling(1024))
        assert len(decoder.graphs) == graphs


# ---------------------------------------------------------------- flash attention's values


@pytest.fixture
def flash(monkeypatch):
    """Flash attention serves CPU tensors; returns what turns the kernels' path on."""
    library = flash_cpu.install()

    def on(decoder=None):
        monkeypatch.setattr(lm.Transformer, "packs", True)
        if decoder is not None:
            decoder.graphed = True

    yield on
    library._destroy()


@torch.no_grad()
@pytest.mark.parametrize("shape", SHAPES)
def test_a_step_through_flash_is_the_plain_step(tokenizer, shape, flash):
    model = make_tiny(tokenizer, **SHAPES[shape])
    decoder, plain = decoder_with_a_past(model, [3, 12, 7, 1])
    expected = model(decoder.pending[:, None], plain)[:, 0]
    # What no row has written yet is never read.
    for row, length in enumerate(decoder.cache.lengths.tolist()):
        decoder.cache.kv[:, :, row, :, length + 1 :] = float("nan")
    flash(decoder)
    for slots in (4, 2):
        found = decoder.logits([(slots, 16)])
        assert (found - expected[:slots]).abs().max() < 1e-4 * expected.abs().max()
    decoder.cache.lengths += 1
    wrong = decoder.logits([(4, 16)])
    assert not (wrong - expected).abs().max() < 1e-2 * expected.abs().max()  # a wrong length shows


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("slots,check_every", [(20, 16), (7, 5)])
def test_rollouts_through_flash_are_the_plain_ones(
    tokenizer, shape, slots, check_every, flash, monkeypatch
):
    model = make_tiny(tokenizer, **SHAPES[shape])
    model.stop_ids = tuple(range(30))
    expected = sample.generate(model, tokenizer, PROMPTS, Sampling(40), n=5, seed=7)
    decoder = graphed(model, monkeypatch, slots, 45, 40)
    flash()
    settings = dict(decoder=decoder, check_every=check_every)
    found = sample.generate(model, tokenizer, PROMPTS, Sampling(40), n=5, seed=7, **settings)
    same(found, expected)
    assert {positions for _, positions, _ in decoder.graphs} == {45}


# ---------------------------------------------------------------- the update


@torch.no_grad()
def test_a_micro_batchs_forward_waits_for_nothing():
    with fake_gpu.on_cuda() as noted:
        model = fake_gpu.model_of(QWEN, torch.bfloat16, "cuda:0")
        model.make_rope_table(1024)
        rollouts = []
        for length in (40, 700):
            rollouts.append(sample.Rollout([1] * 99, [2] * length, [-1.0] * length))
        shared = lm.SharedPrompts(model, [rollout.prompt for rollout in rollouts], 8192)
        advantage = torch.empty(2, device="cuda:0")
        denominators = grpo.Denominators(2, 740, 1024)
        noted.clear()
        config = train.TrainConfig()
        with fake_gpu.Watch() as watch:
            train.micro_batch_loss(shared, rollouts, advantage, denominators, config, None)
        assert not noted.reads and not noted.sent
        assert watch.calls["_varlen_attn"] == 2


@pytest.mark.skipif(
    "enable_gqa" not in inspect.signature(varlen_attn).parameters,
    reason="this torch's packed kernel is given keys and values that are repeated",
)
def test_an_update_moves_as_few_bytes_as_ever():
    ids = 8 * 1024
    kilobytes = {}
    for layers in (1, 2):
        shape = replace(QWEN, num_hidden_layers=layers)
        kilobytes[layers] = counted.update(shape, 256, 8, 1024).watch.elementwise_bytes / ids / 1e3
    of_the_head = counted.head(QWEN, ids).watch.elementwise_bytes / ids / 1e3
    assert kilobytes[2] - kilobytes[1] == pytest.approx(KB_OF_A_LAYER, rel=0.01)
    assert of_the_head == pytest.approx(KB_OF_THE_HEAD, rel=0.01)


def heads_gradient(model, hidden, targets, size: int, monkeypatch):
    monkeypatch.setattr(lm, "LOGITS_BYTES", size * 4 * model.config.vocab_size)
    picked, _ = lm.token_logprobs(model, hidden, targets, 1.0)
    (gradient,) = torch.autograd.grad(picked.sum(), [model.head_weight])
    return gradient.float()


@pytest.mark.parametrize("tied", [True, False])
def test_the_heads_gradient_adds_up_in_fp32_over_its_chunks(tokenizer, tied, monkeypatch):
    """Each chunk rounds its own part to bf16; a sum in bf16 would round it once more for each chunk."""
    model = make_tiny(tokenizer, tie_word_embeddings=tied)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(2000, 32, generator=generator)
    targets = torch.randint(0, 500, (2000,), generator=generator)
    exact = heads_gradient(model, hidden, targets, 2000, monkeypatch)
    model = model.bfloat16()
    hidden = hidden.bfloat16()
    whole = heads_gradient(model, hidden, targets, 2000, monkeypatch)
    chunks = heads_gradient(model, hidden, targets, 20, monkeypatch)
    error = (whole - exact).norm()
    assert 0 < (chunks - exact).norm() < 1.2 * error


# ---------------------------------------------------------------- what is kept, and where


def test_where_memory_allows_the_heads_chunks_are_large():
    shape = REAL["qwen2.5-1.5b"]
    setup = Setup(0, 1536, 8192, checkpointing=True, offload=True)
    assert memory.plan(shape, setup, 80, 256).logits_bytes == LARGE_LOGITS_BYTES
    small = memory.plan(shape, replace(setup, slots=8), 11, 256)
    assert small.logits_bytes < LARGE_LOGITS_BYTES
    on_a_cpu = memory.plan(shape, replace(setup, gpu=False), 80, 256)
    assert on_a_cpu.logits_bytes < LARGE_LOGITS_BYTES
    assert logits_positions(shape.vocab_size, LARGE_LOGITS_BYTES) == 3200
    assert logits_positions(shape.vocab_size, 1000) == 1


def test_a_large_card_decodes_512_rows():
    assert memory.most_slots(79) == 512 and memory.most_slots(47) == 256


def test_the_samplers_logits_are_counted_once():
    """Those of the graphs, and while sampling half as much to warm up for the next one."""
    shape = replace(REAL["qwen2.5-1.5b"], num_hidden_layers=1)
    one, two = (Setup(slots, 64, 64, resident=True) for slots in (4000, 4001))
    kv = memory.token_kv_bytes(shape) * 64
    of_a_row = [
        b - a - kv / 1e9 for a, b in zip(memory.phases(shape, one), memory.phases(shape, two))
    ]
    once = 7 * shape.vocab_size / 1e9
    assert of_a_row == pytest.approx([1.5 * once, once], rel=1e-3)


def test_auto_is_the_cpu_for_tests_on_any_machine(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert engine.device.pick_device("auto").type == "cpu"
    assert engine.device.pick_device("cuda").type == "cuda"


def test_a_stop_string_is_looked_for_without_the_gpu(tokenizer):
    model = make_tiny(tokenizer)
    finder = sample.StopStrings(model, tokenizer, ("7",))
    finder.suspect = None  # the device's
    ids = tokenizer.encode("17 7", add_special_tokens=False)
    assert finder.first_end(ids, len(ids)) is not None


def test_of_what_was_drawn_only_the_longest_row_is_copied_to_the_host(tiny, tokenizer, monkeypatch):
    widths = []
    tolist = torch.Tensor.tolist

    def watched(tensor):
        if tensor.dim() == 2:
            widths.append(tensor.shape[1])
        return tolist(tensor)

    tiny.stop_ids = ()
    monkeypatch.setattr(torch.Tensor, "tolist", watched)
    limits = [3, 5, 2, 4]
    found = sample.generate(
        tiny, tokenizer, PROMPTS, Sampling(500), limits=limits, check_every=8, seed=1
    )
    assert [len(rollout.response) for rollout in found] == limits
    assert set(widths) == {5}


# ---------------------------------------------------------------- python bench.py counted


def test_the_counted_table(capsys, monkeypatch):
    monkeypatch.setitem(counted.SHAPES, "qwen2.5-1.5b", QWEN)
    counted.main(["--slots", "16", "--group", "2", "--response-tokens", "64", "--kinds"])
    said = capsys.readouterr().out
    assert "decode step, 16 slots" in said and "update, 2 x 64 tokens" in said
    assert "_flash_attention_forward" in said and "predicted" in said
    assert bench.PROGRAMS["counted"] is counted.main
    with pytest.raises(UserError, match="--shape"):
        counted.main(["--shape", "gpt-5"])

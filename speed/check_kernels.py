"""Sections of `bench.py check`: the device, attention with lengths, packed rows, products.

Attention is held against the same written out in fp32. Where there is no kernel (on a CPU, on a GPU
before Ampere) what is written out in the compute type takes its place.

Shapes: B rows, N tokens of all rows together, H query heads, K key/value heads, D head size.
"""

import inspect
from functools import partial

import torch
import torch.nn.functional as F
from torch.nn.attention.varlen import varlen_attn

import model as lm
from engine.attention import (
    Cached,
    Packed,
    PackedAfterPrompt,
    attend_one_by_one,
)
from engine.device import pick_dtype
from speed import floors, measure
from speed.decode_kernels import captured
from speed.findings import Bench, Findings, short
from speed.lengths import lognormal_lengths
from speed.measure import Side

GROUPS = (1, 6, 7)  # query heads that share a key/value head: 6 and 7 are those of Qwen2.5
KV_HEADS = 2
# Largest difference to fp32, of outputs of about 1: bf16 has steps of 0.004 to 0.008 there.
ROUNDING = {torch.bfloat16: 2e-2, torch.float32: 1e-4}
# The same of gradients, relative to the largest number.
ROUNDING_OF_GRADIENTS = {torch.bfloat16: 3e-2, torch.float32: 1e-4}


# ---------------------------------------------------------------- the device and its floors


def check_device(bench: Bench, findings: Findings) -> None:
    """What is there, how precise its products are, and how fast it is at most."""
    device = bench.device
    if bench.on_gpu:
        properties = torch.cuda.get_device_properties(device)
        major, minor = torch.cuda.get_device_capability(device)
        findings.info("name", f"{properties.name}, capability {major}.{minor}")
        findings.info("memory", f"{properties.total_memory / 1e9:.1f} GB")
    else:
        findings.info("name", "CPU")
    dtype, why = pick_dtype("auto", device, bench.shape.hidden_size)
    findings.info("compute type", f"{short(dtype)}: {why}")
    findings.info("packed kernel", bench.why_no_kernel(dtype, bench.shape.head_size) or "yes")
    findings.info("kernel with shared heads", "promised" if takes_shared_heads() else "not yet")
    check_precision(bench, findings)
    for dtype in bench.dtypes:
        machine = floors.measure_machine(device, dtype, bench.sizes.copied, bench.sizes.width)
        if dtype == bench.dtypes[0]:
            findings.info("copy", f"{machine.bandwidth / 1e9:,.1f} GB/s")
        findings.info(f"product in {short(dtype)}", f"{machine.rate / 1e12:,.2f} TFLOP/s")


def takes_shared_heads() -> bool:
    """Whether this torch's kernel for packed rows promises heads that share keys."""
    return "enable_gqa" in inspect.signature(varlen_attn).parameters


def check_precision(bench: Bench, findings: Findings) -> None:
    """A product against fp64: in fp32 no shorter type (TF32) may stand in for it."""
    width = min(1024, bench.sizes.width)
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, width, width, generator=generator).to(bench.device)
    expected = left.cpu().double() @ right.cpu().double()
    limits = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
    for dtype in bench.dtypes:
        found = left.to(dtype) @ right.to(dtype)
        error = (found.cpu().double() - expected).abs().max() / expected.abs().max()
        findings.below(f"error of a product in {short(dtype)}", error.item(), limits[dtype])


# ---------------------------------------------------------------- decoding rows


def check_flash(bench: Bench, findings: Findings) -> None:
    """One new token a row, in rows of any lengths, with NaN in the cache beyond what is used."""
    for dtype in bench.dtypes:
        for D in bench.sizes.heads:
            with findings.guarded(f"{short(dtype)}, D {D}, ended by"):
                check_decoding_heads(bench, findings, dtype, D)


def check_decoding_heads(bench: Bench, findings: Findings, dtype: torch.dtype, D: int) -> None:
    """Heads of one size in one compute type."""
    why = bench.why_no_kernel(dtype, D)
    how = "written out" if why else "flash"
    if why and dtype == torch.bfloat16:
        findings.skip(f"flash, D {D}", f"{why}: written out instead")
    for rows in bench.sizes.rows:
        for group in GROUPS:
            decoding = DecodingRows(bench, rows, group, D, dtype, flash=not why)
            found = decoding.gathered()
            expected = decoding.expected(decoding.lengths)
            name = f"{how} in {short(dtype)}, {rows} rows, H/K {group}, D {D}"
            findings.below(name, largest(found - expected), ROUNDING[dtype])
    # Of the last ones: whether a kernel that takes the lengths of other rows would be seen.
    others = decoding.lengths[1:] + decoding.lengths[:1]
    wrong = decoding.expected(others)
    name = f"{how} in {short(dtype)}, D {D}, lengths of other rows"
    findings.above(name, largest(found - wrong), ROUNDING[dtype])


class DecodingRows:
    """A cache of one layer with rows of log-normal lengths, and a new token for each of them."""

    def __init__(self, bench: Bench, rows: int, group: int, D: int, dtype, flash: bool):
        self.flash = flash
        H = KV_HEADS * group
        config = lm.ModelConfig(
            vocab_size=8,
            hidden_size=H * D,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=H,
            num_key_value_heads=KV_HEADS,
            head_dim=D,
        )
        device = bench.device
        self.lengths = lognormal_lengths(rows, bench.sizes.seen, 0)
        self.capacity = max(self.lengths) + 2
        generator = torch.Generator(device).manual_seed(rows)

        def normal(*shape):
            return torch.randn(*shape, generator=generator, device=device).to(dtype)

        self.cache = lm.KVCache(config, rows, self.capacity, device, dtype)
        self.cache.kv.copy_(normal(*self.cache.kv.shape))
        self.cache.lengths.copy_(torch.tensor(self.lengths))
        if flash:  # what is written out multiplies it with 0
            unused = self.cache.positions >= self.cache.lengths[:, None]  # (B, S)
            self.cache.kv.masked_fill_(unused[:, None, :, None], float("nan"))
        self.new = (normal(rows, H, D), normal(rows, KV_HEADS, D), normal(rows, KV_HEADS, D))

    @torch.no_grad()
    def gathered(self):
        """What the queries gather as in the sampler: fp32 [B, H, D].

        The new tokens' keys and values are in the cache then.
        """
        spans = [(len(self.lengths), self.capacity)]
        return Cached(self.cache, spans, flash=self.flash).attend(0, *self.new).float()

    @torch.no_grad()
    def expected(self, lengths: list[int]):
        """The same, row by row in fp32, if the rows had these lengths; call `gathered` first."""
        in_use = [length + 1 for length in lengths]  # with the new token
        packed = []
        for kv in self.cache.layer(0):  # (B, K, S, D)
            rows = [kv[row, :, :length] for row, length in enumerate(in_use)]
            packed.append(torch.cat(rows, dim=1).transpose(0, 1).float().nan_to_num(0.0))
        ones = [1] * len(lengths)
        return attend_one_by_one(self.new[0].float(), *packed, ones, in_use)


def largest(difference) -> float:
    """The largest absolute value; NaN if there is one."""
    return difference.abs().max().item()


# ---------------------------------------------------------------- packed rows


def check_varlen(bench: Bench, findings: Findings) -> None:
    """Packed rows forward and backward, by themselves and after shared prompts."""
    for dtype in bench.dtypes:
        for D in bench.sizes.heads:
            why = bench.why_no_kernel(dtype, D)
            if why and bench.on_gpu:
                findings.skip(f"kernel, {short(dtype)}, D {D}", f"{why}: rows are padded")
                continue
            if why:
                findings.skip(f"kernel, {short(dtype)}, D {D}", f"{why}: row by row instead")
            for group in GROUPS:
                about = f"{short(dtype)}, D {D}, H/K {group}, ended by"
                with findings.guarded(f"packed, {about}"):
                    check_packed(bench, findings, dtype, D, group)
                with findings.guarded(f"after shared prompts, {about}"):
                    check_after_prompts(bench, findings, dtype, D, group)
    time_shared_heads(bench, findings)


class PackedTensors:
    """Queries, keys, values and weights of a loss, of N packed tokens."""

    def __init__(self, bench: Bench, N: int, group: int, D: int, dtype, prompts: int = 0):
        generator = torch.Generator(bench.device).manual_seed(N)

        def normal(rows: int, heads: int):
            shape = (rows, heads, D)
            return torch.randn(shape, generator=generator, device=bench.device).to(dtype)

        H = KV_HEADS * group
        self.inputs = [normal(N, H), normal(N, KV_HEADS), normal(N, KV_HEADS)]
        # Keys and values of prompts, in fp32 as the trainer keeps them.
        self.kept = [normal(prompts, KV_HEADS).float() for _ in range(2)]
        self.weights = normal(N, H).float()

    def outcome(self, attend, dtype: torch.dtype) -> list[torch.Tensor]:
        """What `attend(q, k, v, kept)` gathers in a type, and the gradients of all its inputs."""
        inputs = [tensor.to(dtype).requires_grad_() for tensor in self.inputs]
        kept = [tensor.clone().requires_grad_() for tensor in self.kept]
        out = attend(*inputs, kept).float()
        wanted = [*inputs, *kept] if len(kept[0]) else inputs
        gradients = torch.autograd.grad((out * self.weights).sum(), wanted)
        return [out.detach(), *(gradient.float() for gradient in gradients)]


def relative(found: list, expected: list) -> float:
    """The largest difference of two lists of tensors, each relative to its largest number."""
    differences = []
    for ours, theirs in zip(found, expected):
        differences.append(largest(ours - theirs) / theirs.abs().max())
    return torch.stack(differences).max().item()


def check_packed(bench: Bench, findings: Findings, dtype, D: int, group: int) -> None:
    """Rows by themselves: the kernel with shared heads and with repeated ones."""
    lengths = lognormal_lengths(max(bench.sizes.rows[0], 3), bench.sizes.seen, 0)
    rows = Packed(lengths, bench.device)
    tensors = PackedTensors(bench, sum(lengths), group, D, dtype)
    limit = ROUNDING_OF_GRADIENTS[dtype]

    def reference(q, k, v, kept):
        return attend_one_by_one(q, k, v, lengths, lengths)

    def as_trained(q, k, v, kept):
        return rows.attend(0, q, k, v)

    def repeated(q, k, v, kept):
        return rows.attend(0, q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1))

    def of_one_row(q, k, v, kept):
        whole = [sum(lengths)]
        return attend_one_by_one(q, k, v, whole, whole)

    expected = tensors.outcome(reference, torch.float32)
    about = f"{short(dtype)}, H/K {group}, D {D}"
    found = tensors.outcome(as_trained, dtype)
    findings.below(f"packed, {about}", relative(found, expected), limit)
    if group > 1:
        copied = relative(tensors.outcome(repeated, dtype), expected)
        findings.below(f"packed, heads repeated, {about}", copied, limit)
        if bench.on_gpu and not takes_shared_heads():
            findings.info(
                f"packed, heads shared unasked, {about}", unasked(rows, tensors, expected)
            )
    else:
        wrong = tensors.outcome(of_one_row, torch.float32)
        findings.above(f"packed, rows that see each other, {about}", relative(found, wrong), limit)


def unasked(rows: Packed, tensors: PackedTensors, expected: list) -> str:
    """What a kernel makes of shared heads that does not promise them."""

    def attend(q, k, v, kept):
        ends = rows.ends
        return varlen_attn(q, k, v, ends, ends, rows.longest, rows.longest, window_size=(-1, 0))

    try:
        return f"{relative(tensors.outcome(attend, torch.bfloat16), expected):.3g}"
    except (RuntimeError, ValueError) as error:
        return f"refused: {error}"


def check_after_prompts(bench: Bench, findings: Findings, dtype, D: int, group: int) -> None:
    """Responses that go on from shared prompts, with the gradients of the prompts' keys too."""
    prompts = [bench.sizes.seen, max(1, bench.sizes.seen // 3)]  # tokens of each
    first = [0, prompts[0]]
    of_row = [0, 0, 1, 1, 1]
    begin = [first[i] for i in of_row]
    before = [prompts[i] for i in of_row]
    new = lognormal_lengths(len(of_row), bench.sizes.seen, 1)
    both = [old + added for old, added in zip(before, new)]
    tensors = PackedTensors(bench, sum(new), group, D, dtype, sum(prompts))

    def as_trained(q, k, v, kept):
        return PackedAfterPrompt(kept, begin, before, new).attend(0, q, k, v)

    def reference(q, k, v, kept):
        rows = PackedAfterPrompt(kept, begin, before, new)
        keys = rows.with_prompt(kept[0], k)
        values = rows.with_prompt(kept[1], v)
        return attend_one_by_one(q, keys, values, new, both)

    expected = tensors.outcome(reference, torch.float32)
    found = tensors.outcome(as_trained, dtype)
    name = f"after shared prompts, {short(dtype)}, H/K {group}, D {D}"
    findings.below(name, relative(found, expected), ROUNDING_OF_GRADIENTS[dtype])


def time_shared_heads(bench: Bench, findings: Findings) -> None:
    """How long the shape's attention takes for a micro-batch, heads shared and repeated."""
    dtype = bench.dtype
    shape = bench.shape
    group = shape.num_attention_heads // shape.num_key_value_heads
    rows = max(2, bench.sizes.token_budget // (bench.sizes.prompt_tokens + 128))
    lengths = [bench.sizes.token_budget // rows] * rows
    packed = Packed(lengths, bench.device)
    tensors = PackedTensors(bench, sum(lengths), group, shape.head_size, dtype)

    def as_trained(q, k, v, kept):
        return packed.attend(0, q, k, v)

    def repeated(q, k, v, kept):
        return packed.attend(0, q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1))

    if bench.on_gpu and bench.why_no_kernel(dtype, shape.head_size):
        findings.skip("time", "rows are padded on this GPU")
        return
    sides = {
        "as trained": Side(partial(tensors.outcome, as_trained, dtype)),
        "heads repeated": Side(partial(tensors.outcome, repeated, dtype)),
    }
    found = measure.take_turns(sides, bench.sizes.repeats, 5.0, bench.device)
    for name, seconds in found.items():
        text = seconds
        if isinstance(seconds, list):
            text = f"{1e3 * measure.spread(seconds)[0]:.2f} ms forward and backward"
        findings.info(f"time, {name}, {sum(lengths)} tokens", text)


# ---------------------------------------------------------------- products


def check_products(bench: Bench, findings: Findings) -> None:
    """The products of a decode step at M rows: their time beside the floor, layer after layer."""
    model = bench.random(bench.dtype)
    machine = floors.measure_machine(
        bench.device, bench.dtype, bench.sizes.copied, bench.sizes.width
    )
    weights = sum(floors.matrix_weights(model))
    for M in bench.sizes.products:
        call = captured(products_call(model, M), bench.device)
        found = measure.take_turns({"ours": Side(call)}, 5, 2.0, bench.device)["ours"]
        if isinstance(found, str):
            findings.info(f"M {M}", found)
            continue
        floor, by = machine.floor(weights * model.dtype.itemsize, 2 * weights * M)
        middle = measure.spread(found)[0]
        findings.info(
            f"M {M}", f"{1e3 * middle:.2f} ms, {floor / middle:.0%} of the floor's speed, by {by}"
        )


def products_call(model: lm.Transformer, M: int):
    """A call that multiplies M rows with every matrix of the model, the head's last."""
    c = model.config
    generator = torch.Generator(model.device).manual_seed(0)

    def normal(width: int):
        rows = torch.randn(M, width, generator=generator, device=model.device)
        return rows.to(model.dtype)

    x = normal(c.hidden_size)
    heads = normal(c.num_attention_heads * c.head_size)
    wide = normal(c.intermediate_size)

    @torch.no_grad()
    def call():
        for layer in model.layers:
            F.linear(x, layer.self_attn.qkv_proj.weight)
            F.linear(heads, layer.self_attn.o_proj.weight)
            F.linear(x, layer.mlp.gate_up_proj.weight)
            F.linear(wide, layer.mlp.down_proj.weight)
        model.head(x)

    return call

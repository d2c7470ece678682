"""What a run keeps in memory, computed from the model's shape.

Nothing is measured and nothing is loaded; `python bench.py memory` prints the parts as tables.

A step has two phases. Weights, masters, AdamW's states and the reference model are there in both;
the sampler's logits only while it samples; gradients, activations and the trainer's logits only in
the update. The peak is the larger phase. The KV cache stays for the update where there is room for
both (`resident`), because the sampler's graphs go with it; otherwise it is given back. `train.py`
fills it with what a phase of sampling leaves free, and refuses what cannot fit.

`shape` is a model's configuration: the fields of `model.ModelConfig`. GB are 10^9 bytes. C hidden
size, F feed-forward size, V vocabulary, L layers, H heads, K key/value heads, D head size.
"""

import math
from dataclasses import dataclass, replace

from config import UserError
from engine.batches import LOGITS_BYTES, PREFILL_TOKENS

# Bytes that the CUDA context and its kernels take outside of torch's allocator.
CONTEXT = 0.6e9
# Bytes that cuBLAS takes inside of it.
WORKSPACE = 0.1e9
# The share of the memory that can be used: the allocator's blocks leave gaps.
USABLE = 0.95
# Bytes a slot and id: bf16 logits, fp32 weights, 1 for sums; once for graphs, once to warm up.
SAMPLER_LOGITS = 14


@dataclass(frozen=True)
class Setup:
    """What the size of a run depends on besides the model's shape."""

    slots: int  # rows that decode at a time
    tokens: int  # the longest row: prompt and response
    token_budget: int  # tokens of a micro-batch
    checkpointing: bool = False
    offload: bool = False
    states: str = "fp32"  # of AdamW
    reference: bool = False
    width: int = 2  # bytes of the compute type; at 4 the weights are their own masters
    gpu: bool = True  # it computes there
    kernel: bool = True  # with a kernel for attention, which keeps no weights
    prompts: int = 0  # tokens of an optimizer step's prompts, each counted once
    resident: bool = False  # the KV cache stays during the update


def setup_of(
    settings,
    prompt_tokens: int,
    token_budget: int,
    width: int = 2,
    gpu: bool = True,
    kernel: bool = True,
) -> Setup:
    """The setup of a train.TrainConfig; slots as they stand there."""
    return Setup(
        slots=settings.slots,
        tokens=prompt_tokens + settings.max_new_tokens,
        token_budget=token_budget,
        checkpointing=settings.gradient_checkpointing,
        offload=settings.offload_optimizer,
        states=settings.optimizer_states,
        reference=settings.kl_coef != 0,
        width=width,
        gpu=gpu,
        kernel=kernel,
        prompts=math.ceil(settings.prompts_per_step / settings.updates_per_step) * prompt_tokens,
    )


# ---------------------------------------------------------------- sizes


def parameters(shape) -> int:
    """The number of weights of `model.Transformer`."""
    C = shape.hidden_size
    embedding = shape.vocab_size * C
    head = 0 if shape.tie_word_embeddings else embedding
    last_norm = C
    return embedding + shape.num_hidden_layers * layer_parameters(shape) + last_norm + head


def layer_parameters(shape) -> int:
    """The number of weights of one layer."""
    C = shape.hidden_size
    F = shape.intermediate_size
    D = shape.head_size
    queries = shape.num_attention_heads * D
    keys = shape.num_key_value_heads * D
    projected = queries + 2 * keys
    matrices = C * projected + queries * C + C * 2 * F + F * C
    norms = 2 * C
    if shape.model_type == "qwen3":
        norms += 2 * D  # one norm for all query heads, one for all key heads
    biases = 0
    if shape.model_type == "qwen2":
        biases += projected
    elif shape.attention_bias:
        biases += projected + C
    if shape.mlp_bias:
        biases += 2 * F + C
    return matrices + norms + biases


def layer_bytes(shape, width: int = 2) -> int:
    """What a token leaves behind in one layer for backward."""
    C = shape.hidden_size
    F = shape.intermediate_size
    H = shape.num_attention_heads
    heads = H * shape.head_size
    keys = shape.num_key_value_heads * shape.head_size
    # fp32 in, fp32 scaled, out: what a CPU's norm keeps. A GPU's fused one keeps less.
    norms = 2 * (8 + width) * C
    if shape.model_type == "qwen3":
        norms += 8 * (heads + keys)
    # q and k rotated, the product that v is a part of, attention's output and its log-sum.
    attention = width * 3 * (heads + keys) + 4 * H
    feed_forward = 4 * width * F  # gate, up, silu and their product
    return norms + attention + feed_forward


def token_kv_bytes(shape, width: int = 2) -> int:
    """Bytes of the keys and values of one token."""
    return 2 * width * shape.num_hidden_layers * shape.num_key_value_heads * shape.head_size


def moment_bytes(states: str) -> int:
    """Bytes of AdamW's two moments of one weight; states: fp32 | bf16."""
    return 4 if states == "bf16" else 8


def checkpoint_bytes(shape, states: str) -> int:
    """Bytes of a checkpoint: fp32 weights and AdamW's two moments, of type `states`."""
    return (4 + moment_bytes(states)) * parameters(shape)


def update_bytes(shape, setup: Setup) -> tuple[float, float]:
    """(activations, logits and gradients in flight) at the largest moment of the backward pass.

    That moment is in the head or in the last layer, whichever takes more.
    """
    C = shape.hidden_size
    F = shape.intermediate_size
    V = shape.vocab_size
    L = shape.num_hidden_layers
    width = setup.width
    tied = shape.tie_word_embeddings
    N = max(setup.token_budget, setup.tokens)  # a row above the budget stands alone
    layer = layer_bytes(shape, width)
    if not setup.kernel:
        # Attention written out keeps its weights, in fp32 and in the compute type.
        copies = 4 if width == 4 else 4 + width
        layer += copies * shape.num_attention_heads * setup.tokens
    kept = N * L * layer
    if setup.checkpointing:
        kept = N * L * width * C
    # The prompts' keys and values and their gradients: of both what was computed and a sum in fp32,
    # and once more where they are computed anew.
    kept += setup.prompts * token_kv_bytes(shape, width) / width * (3 * width + 4 + 4)
    ends = N * (4 + 3 * width) * C  # the last norm, and the response positions
    # The head: logits and their gradient, each once in fp32 beside them; the sum of the head's
    # gradients, a chunk's own and (autograd's way) the new sum.
    head = width * V * C
    chunk = min(N, LOGITS_BYTES // (4 * V)) * V
    in_head = max(2 * (width + 4) * chunk + head, 3 * head)
    # A layer: what it computes on, and the gradients that are there meanwhile.
    flight = width * F * C
    if setup.offload:
        embeddings = 1 if tied else 2
        flight = width * (parameters(shape) - embeddings * V * C) / L
    waits = 0
    if tied or setup.offload:
        waits = head  # the head's gradient: for the embedding's, or on its way to the CPU
    in_layer = N * (2 * F + 6 * C) * width / 2
    if setup.checkpointing:
        in_layer += N * layer
    in_layer = in_layer + waits + flight
    if in_layer > in_head:
        return kept + ends + (in_layer - flight - waits), waits + flight
    return kept + ends, in_head


def parts(shape, setup: Setup) -> dict[str, float]:
    """GB on the GPU by part."""
    n = parameters(shape)
    width = setup.width
    activations, logits = update_bytes(shape, setup)
    kv = token_kv_bytes(shape, width)
    sizes = {
        "weights": width * n,
        "masters": 4 * n,
        "AdamW": moment_bytes(setup.states) * n,
        "reference": 0,
        "KV cache": setup.slots * setup.tokens * kv,
        "sampler": sampler_bytes(shape, setup),
        "gradients": 4 * n,
        "activations": activations,
        "logits": logits,
        "context": CONTEXT + WORKSPACE,
    }
    if setup.reference:
        sizes["reference"] = width * n
    if width == 4:  # the weights are their own masters
        sizes["masters"] = 0
    if not setup.gpu:
        sizes["context"] = 0
    if setup.offload:
        for name in ("masters", "AdamW", "gradients"):
            sizes[name] = 0
    return {name: size / 1e9 for name, size in sizes.items()}


def sampler_bytes(shape, setup: Setup) -> int:
    """The sampler's logits, or what the prefill of a chunk of prompts takes where that is more."""
    C = shape.hidden_size
    F = shape.intermediate_size
    width = setup.width
    kv = token_kv_bytes(shape, width)
    logits = setup.slots * shape.vocab_size * SAMPLER_LOGITS
    prefill = PREFILL_TOKENS * (2 * kv + 3 * width * F + (4 + 2 * width) * C)
    return max(logits, prefill)


def phases(shape, setup: Setup) -> tuple[float, float]:
    """GB on the GPU (while sampling, in the update)."""
    gb = parts(shape, setup)
    both = gb["weights"] + gb["masters"] + gb["AdamW"] + gb["reference"] + gb["context"]
    sampling = both + gb["KV cache"] + gb["sampler"]
    kept = 0.0
    if setup.resident:
        kept = gb["KV cache"] + gb["sampler"]
    update = both + kept + gb["gradients"] + gb["activations"] + gb["logits"]
    return sampling, update


def peak(shape, setup: Setup) -> float:
    """GB on the GPU in the larger phase."""
    return max(phases(shape, setup))


def cpu_gb(shape, setup: Setup) -> float:
    """GB of the computer's memory that --offload-optimizer takes.

    These are the masters, the gradient sums, AdamW's states, and the pinned way there.
    """
    if not setup.offload:
        return 0.0
    n = parameters(shape)
    pinned = 2 ** math.ceil(math.log2(setup.width * n))  # torch rounds it up
    return ((4 + 4 + moment_bytes(setup.states)) * n + pinned) / 1e9


def filled(shape, setup: Setup, gb: float, most: int) -> Setup:
    """The setup with as many slots as fit, at most `most`; 0 if not even one does."""
    for slots in range(most, 0, -1):
        tried = replace(setup, slots=slots)
        sampling, _ = phases(shape, tried)
        if sampling <= USABLE * gb:
            return tried
    return replace(setup, slots=0)


# ---------------------------------------------------------------- before a run starts


def plan(shape, setup: Setup, gb: float, most: int) -> Setup:
    """The setup that a run uses in `gb`.

    Slots 0 become what fits, at most `most`; the cache stays if it can. UserError names the flag to
    change.
    """
    usable = USABLE * gb
    sampling, update = phases(shape, setup)
    filled_up = filled(shape, setup, gb, most)
    if update > usable or not filled_up.slots:
        needed = peak(shape, replace(setup, slots=setup.slots or 1))
        raise UserError(
            f"this needs {needed:.1f} GB of GPU memory (computed), "
            f"{usable:.1f} can be used: {remedy(shape, setup, gb)}; "
            "`python bench.py memory` has the parts"
        )
    if setup.slots > filled_up.slots and sampling > usable:
        raise UserError(
            f"--slots {setup.slots}: {filled_up.slots} fit into {usable:.1f} GB of GPU memory "
            "(computed); 0 takes what fits"
        )
    used = setup if setup.slots else filled_up
    staying = replace(used, resident=True)
    fits = peak(shape, staying) <= usable
    return replace(used, resident=fits)


def remedy(shape, setup: Setup, gb: float) -> str:
    """The flags that make a run fit, the cheapest first."""
    least = setup.tokens
    shorter = {"token_budget": least}
    checkpointing = {"checkpointing": True}
    offload = {"offload": True}
    both_flags = "add --gradient-checkpointing and --offload-optimizer"
    remedies = {
        f"lower --token-budget, to {least} at the least": shorter,
        "add --gradient-checkpointing": checkpointing,
        "add --offload-optimizer": offload,
        both_flags: checkpointing | offload,
        f"{both_flags}, lower --token-budget to {least}": checkpointing | offload | shorter,
    }
    as_it_is = replace(setup, slots=1)
    for flags, change in remedies.items():
        changed = replace(as_it_is, **change)
        if changed != as_it_is and peak(shape, changed) <= USABLE * gb:
            return flags
    return "no flag is enough, take a smaller --model or --max-new-tokens"


def described(shape, setup: Setup, gb: float | None) -> str:
    """One line: what a run will take."""
    sizes = parts(shape, setup).items()
    shown = ", ".join(f"{name} {size:.1f}" for name, size in sizes if size >= 0.05)
    sampling, update = phases(shape, setup)
    line = f"memory (GB, computed): {shown}; sampling {sampling:.1f}, update {update:.1f}"
    if gb:
        line += f" of {gb:.1f}"
    if setup.offload:
        line += f"; {cpu_gb(shape, setup):.0f} GB on the CPU"
    slots = f"{setup.slots} slots of {setup.tokens} tokens"
    return f"{line}; {slots}, token budget {setup.token_budget}"

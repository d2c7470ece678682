"""What a run keeps in memory, computed from the model's shape.

Nothing is measured and nothing is loaded; `python bench.py memory` prints the parts as tables.

A step has two phases. Weights, masters, AdamW's states, the reference model and a teacher are there
in both; the sampler's logits only while it samples; gradients, activations and the trainer's logits
only in the update, before which a teacher reads what was sampled. The peak is the larger phase. The
KV cache stays for the update where there is room for both (`resident`), because the sampler's
graphs go with it; otherwise it is given back. `train.py` fills it with what a phase of sampling
leaves free, and refuses what cannot fit.

`shape` is a model's configuration: the fields of `model.ModelConfig`. GB are 10^9 bytes. C hidden
size, F feed-forward size, V vocabulary, L layers, H heads, K key/value heads, D head size.
"""

import math
from dataclasses import dataclass, replace

from config import UserError
from engine.batches import (
    LARGE_LOGITS_BYTES,
    LOGITS_BYTES,
    PREFILL_TOKENS,
    logits_positions,
)
from engine.decoder import MOST_SLOTS

# Bytes that the CUDA context and its kernels take outside of torch's allocator.
CONTEXT = 0.6e9
# Bytes that cuBLAS takes inside of it.
WORKSPACE = 0.1e9
# The share of the memory that can be used: the allocator's blocks leave gaps.
USABLE = 0.95
# Rows that decode at a time, below which a run is hardly worth its time.
FEW_SLOTS = 16
# GB from which a GPU decodes twice as many rows: a card of 80 GB has so much free.
LARGE_GPU = 75


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
    teacher: object = None  # the shape of a teacher, which may be larger than the model
    critic: bool = False  # PPO's, a transformer of its own
    width: int = 2  # bytes of the compute type; at 4 the weights are their own masters
    gpu: bool = True  # it computes there
    kernel: bool = True  # with a kernel for attention, which keeps no weights
    prompts: int = 0  # tokens of an optimizer step's prompts, each counted once
    updates: int = 1  # optimizer steps of a step
    resident: bool = False  # the KV cache stays during the update
    logits_bytes: int = LOGITS_BYTES  # of the trainer's largest fp32 tensor [positions, V]


def setup_of(
    settings,
    prompt_tokens: int,
    token_budget: int,
    width: int = 2,
    gpu: bool = True,
    kernel: bool = True,
    teacher=None,
) -> Setup:
    """The setup of a train.TrainConfig; slots as they stand there. teacher: its shape."""
    return Setup(
        slots=settings.slots,
        tokens=prompt_tokens + settings.max_new_tokens,
        token_budget=token_budget,
        checkpointing=settings.gradient_checkpointing,
        offload=settings.offload_optimizer,
        states=settings.optimizer_states,
        reference=settings.kl_coef != 0,
        teacher=teacher,
        critic=settings.algorithm == "ppo" and settings.critic == "own",
        width=width,
        gpu=gpu,
        kernel=kernel,
        prompts=math.ceil(settings.prompts_per_step / settings.updates_per_step) * prompt_tokens,
        updates=settings.updates_per_step,
    )


# ---------------------------------------------------------------- sizes


def parameters(shape) -> int:
    """The number of weights of `model.Transformer`."""
    C = shape.hidden_size
    embedding = shape.vocab_size * C
    head = 0 if shape.tie_word_embeddings else embedding
    last_norm = C
    return embedding + shape.num_hidden_layers * layer_parameters(shape) + last_norm + head


def critic_parameters(shape) -> int:
    """The number of weights of `ppo.Critic`, which has a number for the head of ids."""
    head = 0 if shape.tie_word_embeddings else shape.vocab_size * shape.hidden_size
    return parameters(shape) - head + shape.hidden_size


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


def checkpoint_bytes(
    shape, states: str, critic: bool = False, reference: bool = False, width: int = 4
) -> int:
    """Bytes of a checkpoint: fp32 weights and AdamW's two moments, of type `states`.

    critic: PPO's stands beside the policy, with weights and moments of its own. reference: a
    reference that is no longer the starting model, too, with `width` bytes a weight.
    """
    n = parameters(shape)
    trained = n
    if critic:
        trained += critic_parameters(shape)
    size = (4 + moment_bytes(states)) * trained
    if reference:
        size += width * n
    return size


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
    if setup.critic:
        kept *= 2  # its layers keep as much, and go back with the policy's
    ends = N * (4 + 3 * width) * C  # the last norm, and the response positions
    # The head: logits and their gradient, each once in fp32 beside them; the fp32 sum of the
    # gradients of its weight, and a chunk's own.
    head = width * V * C
    summed = 4 * V * C
    chunk = min(N, logits_positions(V, setup.logits_bytes)) * V
    in_head = summed + max(2 * (width + 4) * chunk, 2 * width * chunk + head)
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
    critic = critic_parameters(shape) if setup.critic else 0
    width = setup.width
    activations, logits = update_bytes(shape, setup)
    kv = token_kv_bytes(shape, width)
    sizes = {
        "weights": width * (n + critic),
        "masters": 4 * (n + critic),
        "AdamW": moment_bytes(setup.states) * (n + critic),
        "reference": 0,
        "teacher": 0,
        "KV cache": setup.slots * setup.tokens * kv,
        "sampler": max(sampler_logits(shape, setup) * 3 / 2, prefill_bytes(shape, setup)),
        "gradients": 4 * (n + critic),
        "activations": activations,
        "logits": logits,
        "context": CONTEXT + WORKSPACE,
    }
    if setup.reference:
        sizes["reference"] = width * n
    if setup.teacher:
        sizes["teacher"] = width * parameters(setup.teacher)
    if width == 4:  # the weights are their own masters
        sizes["masters"] = 0
    if not setup.gpu:
        sizes["context"] = 0
    if setup.offload:
        for name in ("masters", "AdamW", "gradients"):
            sizes[name] = 0
    return {name: size / 1e9 for name, size in sizes.items()}


def sampler_logits(shape, setup: Setup) -> int:
    """What a decode step computes on: logits, fp32 weights, and 1 byte for sums.

    On a GPU it belongs to the graphs, which all use the same. To warm up for the next one, of half
    as many slots, takes half as much beside it, and is given back before that one is captured.
    """
    return setup.slots * shape.vocab_size * (setup.width + 4 + 1)


def prefill_bytes(shape, setup: Setup) -> int:
    """What the prefill of a chunk of prompts takes."""
    C = shape.hidden_size
    F = shape.intermediate_size
    width = setup.width
    kv = token_kv_bytes(shape, width)
    return PREFILL_TOKENS * (2 * kv + 3 * width * F + (4 + 2 * width) * C)


def reading_bytes(shape, setup: Setup) -> float:
    """What a model of a shape takes beside its weights when it reads a step without gradients.

    These are the keys and values of the prompts, what a layer computes on, and the head's logits.
    """
    C = shape.hidden_size
    F = shape.intermediate_size
    width = setup.width
    N = max(setup.token_budget, setup.tokens)
    layer = N * (width * (3 * F + 6 * C) + 4 * C)
    if not setup.kernel:  # attention written out, in fp32 and in the compute type
        layer += N * (4 + width) * shape.num_attention_heads * setup.tokens
    chunk = min(N, logits_positions(shape.vocab_size, setup.logits_bytes)) * shape.vocab_size
    # Chunks of prompts, then all of them as one tensor a layer.
    prompts = 2 * setup.prompts * token_kv_bytes(shape, width)
    return prompts + layer + 2 * (width + 4) * chunk


def phases(shape, setup: Setup) -> tuple[float, float]:
    """GB on the GPU (while sampling, in the update)."""
    gb = parts(shape, setup)
    both = gb["weights"] + gb["masters"] + gb["AdamW"] + gb["reference"] + gb["context"]
    both += gb["teacher"]
    sampling = both + gb["KV cache"] + gb["sampler"]
    kept = 0.0
    if setup.resident:
        kept = gb["KV cache"] + sampler_logits(shape, setup) / 1e9  # with the graphs
    update = both + kept + gb["gradients"] + gb["activations"] + gb["logits"]
    if setup.teacher:  # before the update, of all of a step's prompts
        step = replace(setup, prompts=setup.prompts * setup.updates)
        reading = reading_bytes(shape, step) + reading_bytes(setup.teacher, step)
        update = max(update, both + kept + reading / 1e9)
    return sampling, update


def peak(shape, setup: Setup) -> float:
    """GB on the GPU in the larger phase."""
    return max(phases(shape, setup))


def cpu_gb(shape, setup: Setup) -> float:
    """GB of the computer's memory that --offload-optimizer takes, for the policy and a critic.

    These are the masters, the gradient sums, AdamW's states, and the pinned way there.
    """
    if not setup.offload:
        return 0.0
    sizes = [parameters(shape)]
    if setup.critic:
        sizes.append(critic_parameters(shape))
    total = 0
    for n in sizes:
        pinned = 2 ** math.ceil(math.log2(setup.width * n))  # torch rounds it up
        total += (4 + 4 + moment_bytes(setup.states)) * n + pinned
    return total / 1e9


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

    Slots 0 become what fits, at most `most`; the cache stays and the trainer's logits are large, if
    they can. UserError names the flag to change.
    """
    usable = USABLE * gb
    sampling, update = phases(shape, setup)
    filled_up = filled(shape, setup, gb, most)
    if update > usable or not filled_up.slots:
        needed = peak(shape, replace(setup, slots=setup.slots or 1))
        raise UserError(
            f"this needs {needed:.1f} GB of GPU memory (computed), "
            f"{usable:.1f} can be used: {remedy(shape, setup, gb, most)}; "
            "`python bench.py memory` has the parts"
        )
    if setup.slots > filled_up.slots and sampling > usable:
        raise UserError(
            f"--slots {setup.slots}: {filled_up.slots} fit into {usable:.1f} GB of GPU memory "
            "(computed); 0 takes what fits"
        )
    used = setup if setup.slots else filled_up
    # The cache stays, if it can; then the logits are as large as what is left allows.
    wishes = [dict(resident=True)]
    if setup.gpu:
        large = dict(logits_bytes=LARGE_LOGITS_BYTES)
        wishes = [dict(resident=True) | large, dict(resident=True), large]
    for wish in wishes:
        wished = replace(used, **wish)
        if peak(shape, wished) <= usable:
            return wished
    return used


def most_slots(gb: float) -> int:
    """Rows that decode at a time at most, on a GPU with so much memory free."""
    return 2 * MOST_SLOTS if gb >= LARGE_GPU else MOST_SLOTS


# What saves memory beside a lower token budget, the cheapest first: a third more arithmetic,
# moments that are rounded, an update on the CPU.
SAVINGS = (
    dict(),
    dict(checkpointing=True),
    dict(states="bf16"),
    dict(checkpointing=True, states="bf16"),
    dict(offload=True),
    dict(checkpointing=True, offload=True),
)


def slimmer(shape, setup: Setup, gb: float, most: int) -> Setup | None:
    """The cheapest change of a setup that fits into `gb`, with its slots; None if none does.

    One with `FEW_SLOTS` is preferred to a cheaper one with fewer.
    """
    for fewest in (min(FEW_SLOTS, most), 1):
        for changes in SAVINGS:
            for budget in token_budgets(setup):
                tried = filled(shape, replace(setup, token_budget=budget, **changes), gb, most)
                _, update = phases(shape, tried)
                if tried.slots >= fewest and update <= USABLE * gb:
                    return tried
    return None


def token_budgets(setup: Setup) -> list[int]:
    """A setup's token budget and its halves, down to the longest row, which cannot be cut."""
    budgets = [setup.token_budget]
    while budgets[-1] > setup.tokens:
        budgets.append(max(budgets[-1] // 2, setup.tokens))
    return budgets


def flags(before: Setup, after: Setup) -> list[str]:
    """The flags of train.py that turn a setup into one of its `slimmer` ones."""
    found = []
    if after.token_budget != before.token_budget:
        found.append(f"--token-budget {after.token_budget}")
    if after.checkpointing and not before.checkpointing:
        found.append("--gradient-checkpointing")
    if after.states != before.states:
        found.append(f"--optimizer-states {after.states}")
    if after.offload and not before.offload:
        found.append("--offload-optimizer")
    return found


def remedy(shape, setup: Setup, gb: float, most: int) -> str:
    """What makes a run fit that does not."""
    found = slimmer(shape, setup, gb, most)
    if found:
        line = f"it fits with {' '.join(flags(setup, found))}, {found.slots} slots then"
        if found.offload:
            line += f" and {cpu_gb(shape, found):.0f} GB on the CPU"
        return line
    savings = replace(setup, token_budget=1, checkpointing=True, offload=True)
    for sixteenths in range(15, 0, -1):
        shorter = setup.tokens * sixteenths // 16
        if slimmer(shape, replace(savings, tokens=shorter), gb, 1):
            return (
                "no flag is enough, take a smaller --model, or lower --max-new-tokens until a "
                f"prompt and its response have {shorter} tokens at most, not {setup.tokens}"
            )
    return "no flag is enough, take a smaller --model"


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

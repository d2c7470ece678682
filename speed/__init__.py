"""What bench.py stands on: our sampler and trainer beside other people's and the machine's limit.

    cpu                headline of `bench.py cpu`: the embedded base beside transformers and TRL
    rows               rows of `bench.py cuda`: prefill, decode, rollout, log-probs, update, step
    scaling            `bench.py scaling`: how the cost grows
    memory             `bench.py memory`: what a run keeps in memory, computed
    recipes            `bench.py recipes`: each published setting beside ours
    counted            `bench.py counted`: what a GPU has to do, counted without one
    fake_gpu           tensors of a GPU without values, and what runs on them
    check              `bench.py check`: what a GPU runs differently, section by section
    check_kernels      its sections of attention and products
    check_sampler      those of decoding
    check_trainer      those of train.py and its memory
    findings           what it says, and what the sections work on
    side_ours          our side of a comparison
    side_transformers  that of transformers, with its two ways to generate
    side_trl           that of TRL's GRPOTrainer
    subject            the weights, prompts and lengths that the rows are measured on
    decode_kernels     which of PyTorch's attention kernels serves a ragged decode best
    measure            what a timing is, and how sides take turns
    lengths            what lengths responses have
    floors             the time that the machine needs at least
    figures            the headline's figures as numbers and as text
    curves             the drawing of `bench.py scaling`
    report             what is printed, and the JSON file

A side is one implementation at work: a call that is timed, beside calls of others that do the same
work on the same weights, prompts and lengths of responses (`measure.Side`).
"""

from . import check, counted, cpu, memory, recipes, rows, scaling

__all__ = ["check", "counted", "cpu", "memory", "recipes", "rows", "scaling"]

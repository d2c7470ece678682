"""What bench.py stands on: our sampler and trainer beside other people's and the machine's limit.

    cpu                headline of `bench.py cpu`: the embedded base beside transformers and TRL
    rows               rows of `bench.py cuda`: prefill, decode, rollout, log-probs, update, step
    scaling            `bench.py scaling`: how the cost grows
    memory             `bench.py memory`: what a run keeps in memory, computed
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

from . import cpu, memory, rows, scaling

__all__ = ["cpu", "memory", "rows", "scaling"]

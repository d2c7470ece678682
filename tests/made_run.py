"""A run's folder made by hand, with any texts in it: what report.py reads.

PYTHONPATH=. python tests/made_run.py FOLDER    # 200 steps of 8 groups of 16 responses of
time python report.py FOLDER                    # 2,000 tokens each: 3 GB of logs
"""

import json
import random
import sys
from pathlib import Path

from evaluation import tokens

QUESTION = "Using 18, 20 and 3 exactly once each, make 26 with + - * /."
RIGHT = "18/3=6\n6+20=26 yes</think> <answer>20+(18/3)</answer>"
WRONG = "18-3=15 / 20-15=5 </think> <answer>20-(18-3)</answer>"

# What a model may write, by name: in the page each is a text and nothing else.
HOSTILE = {
    "end of script": "</script><script>window.hacked = 1</script>",
    "image": "<img src=x onerror='window.hacked = 1'><svg onload='window.hacked = 1'>",
    "comment": "<!--<script>window.hacked = 1//",
    "entity": "&lt;script&gt; &amp; &#60;b&#62;",
    "control characters": "a\x00b\x07c\x1b[31md\x7fe\x85f\rg",
    "right to left": "abc \u202edef\u202c \u200f\u05d0\u05d1\u061c \u2066x\u2069",
    "lone surrogates": "high \ud83d low \ude00 end",
    "line separators": "one\u2028two\u2029three",
    "nothing to see": "a\u200bb\ufeffc\u2060d\u00ade\U000e0041f",
    "many marks": "a" + "\u0301" * 300,
    "quotes": "\"'`${window.hacked = 1}\\u003c\\",
    "template": "STYLE SCRIPT DATA /* SCRIPT */ SCRIPT_HASH",
}


def response(text: str, total: float = 0.0, finished: bool = True, cut_into: int = 1) -> dict:
    """A response whose tokens are its characters, `cut_into` at a time, and a stop token."""
    pieces = [text[i : i + cut_into] for i in range(0, len(text), cut_into)]
    return {
        "text": text,
        "finished": finished,
        "total": total,
        "accuracy": total,
        "format": 0.0,
        "why": "right" if total else "value is 5, not 26",
        "pieces": pieces,
    }


def with_tokens(record: dict, table: dict[str, int]) -> dict:
    """A response's record for tokens.jsonl; table: the id of each piece, which it fills."""
    record = dict(record)
    ids = [table.setdefault(piece, len(table) + 10) for piece in record.pop("pieces")]
    if record["finished"]:
        ids.append(0)
    T = len(ids)
    record |= {
        "ids": ids,
        "logprobs": [-(t % 7) / 4 for t in range(T)],
        "entropy": [(t % 5) / 4 for t in range(T)],
        "likeliest": [[i, 0, *ids[:3]] for i in ids],
        "their_logprobs": [[-0.5, -1.5, -2.5, -3.5, -4.5]] * T,
        "log_ratio": [0.0] * (T - 1) + [0.4],
        "clipped": [T - 1],
        "advantage": record["total"] - 0.5,
    }
    return record


def line_of(step: int, kind: str, place: int, responses: list[dict], question=QUESTION) -> dict:
    table = {}
    records = [with_tokens(record, table) for record in responses]
    pieces = {"0": "<|endoftext|>"} | {str(i): piece for piece, i in table.items()}
    return {
        **tokens.head(step, kind, place, sum(len(record["ids"]) for record in records)),
        "task": "countdown",
        "question": question,
        "answer": "20+(18/3)",
        "facts": {"numbers": [18, 20, 3], "target": 26},
        "responses": records,
        "pieces": pieces,
        "special": [0],
        "parts": [],
    }


def rollouts_line(step: int, responses: list[dict], question=QUESTION) -> dict:
    kept = []
    for record in responses:
        record = dict(record)
        record["tokens"] = len(record.pop("pieces")) + record["finished"]
        kept.append({**record, "advantage": record["total"] - 0.5})
    return {"step": step, "question": question, "answer": "20+(18/3)", "responses": kept}


def metrics_line(step: int, evaluated: bool) -> dict:
    line = {"step": step, "seconds": 1.0}
    if step:
        line |= {
            "reward": 0.01 * step,
            "accuracy": 0.01 * step,
            "length": 20.0,
            "length_right": 25.0,
            "length_wrong": 18.0,
            "truncated": 0.6 if step == 1 else 0.1,
            "equal_groups": 0.2,
            "entropy": 0.5,
            "grad_norm": 1.5,
            "logprob_gap_max": 1e-6,
            "logprob_gap_mean": 1e-7,
            "seconds_sample": 0.4,
            "seconds_update": 0.5,
            "seconds_reward": 0.1,
        }
    if evaluated:
        line |= {"eval_accuracy": 0.3 + step / 100, "eval_accuracy_ci": [0.2, 0.4 + step / 100]}
    return line


def write(path: Path, lines: list[dict]) -> None:
    path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))


def make_run(folder: Path, groups: dict[int, list[list[dict]]], **config) -> str:
    """A finished run of 40 steps.

    groups: of each step its groups of responses; of step 1 and 40 also a held-out problem, wrong at
    first and then right.
    """
    folder.mkdir(parents=True)
    settings = {"task": "countdown", "loss": "dr_grpo", "reward": "dr_grpo", "max_new_tokens": 256}
    (folder / "config.json").write_text(json.dumps(settings | config))
    write(folder / "metrics.jsonl", [metrics_line(i, i % 20 == 0) for i in range(41)])
    rollouts = []
    with_them = [
        line_of(0, "held-out", 0, [response(WRONG)]),
        line_of(40, "held-out", 0, [response(RIGHT, 1.0)]),
        {**tokens.evaluation_line(0, [False, True, False])},
        {**tokens.evaluation_line(40, [True, True, False])},
    ]
    for step, found in groups.items():
        for place, responses in enumerate(found):
            rollouts.append(rollouts_line(step, responses))
            with_them.append(line_of(step, "train", place, responses))
    write(folder / "rollouts.jsonl", rollouts)
    write(folder / "tokens.jsonl", with_them)
    (folder / "summary.json").write_text('{"steps": 40}')
    return str(folder)


def make_long_run(folder: Path) -> None:
    """200 steps of 8 groups of 16 responses of 2,000 tokens, every token logged."""
    make_run(folder, {})
    write(folder / "metrics.jsonl", [metrics_line(step, step % 20 == 0) for step in range(201)])
    rng = random.Random(0)
    groups = []
    for _ in range(4):
        responses = []
        for i in range(16):
            words = [rng.choice((" so", " the", " =", " 12", " we", "\n")) for _ in range(1999)]
            record = response("".join(words), float(i % 3 == 0))
            record["pieces"] = words
            responses.append(record)
        groups.append((rollouts_line(0, responses), line_of(0, "train", 0, responses)))
    with (
        open(folder / "rollouts.jsonl", "w") as rollouts,
        open(folder / "tokens.jsonl", "w") as log,
    ):
        rests = []  # the lines after what tells them apart
        for group, line in groups:
            text = json.dumps(line, separators=(",", ":"))
            rests.append((json.dumps(group).partition(",")[2], text.partition('"place":0,')[2]))
        for step in range(1, 201):
            for place in range(8):
                group, line = rng.choice(rests)
                rollouts.write(f'{{"step": {step},{group}\n')
                log.write(f'{{"step":{step},"kind":"train","place":{place},{line}\n')


if __name__ == "__main__":
    make_long_run(Path(sys.argv[1]))

"""Supervised training on graded responses: which rows are kept, how often each comes, and what is mixed in or held out."""

import json
import math
import random
from collections import Counter

import pytest
import torch
from test_errors import refused

import config
import eval as evaluation
import sft
import tasks
from config import UserError
from evaluation import keeping, responses
from tasks import order, traces
from tasks.pairs import generated_pairs, training_problem
from tasks.problem import decisive_part

PROBLEMS = tasks.make_problems("countdown:3", "train", 0, 6)


def right(problem, work="work"):
    return f"{work}</think> <answer>{problem.answer}</answer>"


def response(text, finished=True):
    return responses.Response(text, 9, finished)


def saved(path, groups, **settings):
    """A file as eval.py --save writes it; groups: (problem, its responses)."""
    graded = [responses.grade(problem, drawn, "dr_grpo") for problem, drawn in groups]
    head = {"template": "short", "answer_style": "auto", "suite": None, **settings}
    responses.save(path, head, {"countdown": graded})
    return str(path)


@pytest.fixture
def graded(tmp_path):
    """Of each problem a long right response, a short right one, a wrong one, and a right one that was cut off."""
    groups = []
    for problem in PROBLEMS:
        drawn = [
            response(right(problem, "1+2=3 no\n4+5=9 yes")),
            response(right(problem)),
            response("work</think> <answer>1</answer>"),
            response(right(problem), finished=False),
        ]
        groups.append((problem, drawn))
    return saved(tmp_path / "graded.jsonl", groups)


def pairs_file(path, pairs):
    lines = [json.dumps({"prompt": prompt, "response": text}) + "\n" for prompt, text in pairs]
    path.write_text("".join(lines))
    return str(path)


def candidates_of(path, tokenizer, **settings):
    chosen = sft.SFTConfig(data=path, **settings)
    return keeping.read(path, chosen, tokenizer)


def weights_of(folder):
    return (folder / "model.safetensors").read_bytes()


def trained_rows(monkeypatch, tmp_path, **settings):
    """(the rows of each step of a training that updates nothing, what it returns)."""
    seen = []

    def record(model, optimizer, rows, lr, used):
        seen.append(rows)
        return 0.0, 0.0

    monkeypatch.setattr(sft, "supervised_step", record)
    c = sft.SFTConfig(out=str(tmp_path / "out"), device="cpu", warmup=0, **settings)
    return seen, sft.train(c)


# ---------------------------------------------------------------- which rows


def test_a_saved_file_trains_to_the_bit_as_the_pairs_that_it_holds(tmp_path, tiny_folder, graded):
    pairs = []
    for problem in PROBLEMS:
        prompt = tasks.prompt(problem, "short", None)
        pairs += [(prompt, right(problem, "1+2=3 no\n4+5=9 yes")), (prompt, right(problem))]
    plain = pairs_file(tmp_path / "pairs.jsonl", pairs)
    other = pairs_file(tmp_path / "other.jsonl", pairs[1:])
    for length in ({"steps": 2}, {"epochs": 1}):
        weights = []
        for data, keep in ((graded, "right"), (plain, "all"), (other, "all"), (graded, "all")):
            out = tmp_path / "out"
            how = dict(model=tiny_folder, out=str(out), rows=4, warmup=0, device="cpu")
            sft.train(sft.SFTConfig(data=data, keep=keep, **how, **length))
            weights.append(weights_of(out))
        assert weights[0] == weights[1]
        assert len(set(weights)) == 3  # other rows are seen in the weights


def test_only_right_responses_are_kept_and_what_was_cut_off_never_is(graded, tokenizer, capsys):
    kept = candidates_of(graded, tokenizer, keep="right")
    line = capsys.readouterr().err
    assert len(kept) == 12 and all(candidate.right for candidate in kept)
    for candidate in kept:
        problem = next(p for p in PROBLEMS if p.key == candidate.problem)
        group = responses.grade(problem, [response(candidate.response)], "dr_grpo")
        assert group.right == [True]
        assert candidate.prompt == tasks.prompt(problem, "short", tokenizer)
    assert "kept 12 of 24 responses; left out 6 wrong (--keep right), 6 cut off" in line
    assert len(candidates_of(graded, tokenizer)) == 18


def test_what_a_file_says_of_its_answers_is_not_believed(graded, tokenizer):
    lines = [json.loads(line) for line in open(graded, encoding="utf-8")]
    for line in lines[1:]:
        line["reward"]["accuracy"] = 1.0
    with open(graded, "w", encoding="utf-8") as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines))
    assert len(candidates_of(graded, tokenizer, keep="right")) == 12


@pytest.mark.parametrize("prefer, work", [("drawn", "1+2=3 no\n4+5=9 yes"), ("shortest", "work")])
def test_so_many_rows_a_problem_and_which(graded, tokenizer, prefer, work):
    kept = candidates_of(graded, tokenizer, keep="right", per_problem=1, prefer=prefer)
    assert [candidate.response for candidate in kept] == [right(p, work) for p in PROBLEMS]
    twice = candidates_of(graded, tokenizer, per_problem=2, prefer=prefer)
    assert set(Counter(candidate.problem for candidate in twice).values()) == {2}


@pytest.mark.parametrize(
    "setting, text, flag",
    [
        ({"min_language": 0.6}, "so мы идём дальше</think> 7", "--min-language"),
        ({"drop_code": True}, "see\n```python\n1\n```</think> 7", "--drop-code"),
        ({"max_paragraph": 4}, "a b c d\n\na b c d e</think> 7", "--max-paragraph"),
        ({"max_response_tokens": 12}, "1 2 3 4 5 6 7 8 9 10 11 12 13</think> 7", "--max-response-"),
    ],
)
def test_each_filter_leaves_out_what_it_names(tmp_path, tokenizer, capsys, setting, text, flag):
    path = pairs_file(tmp_path / "p.jsonl", [("q", "so it goes</think> 7"), ("q", text)])
    assert len(candidates_of(path, tokenizer)) == 2
    assert not capsys.readouterr().err  # nothing is left out of pairs, nothing is said
    assert [c.response for c in candidates_of(path, tokenizer, **setting)] == [
        "so it goes</think> 7"
    ]
    line = capsys.readouterr().err
    assert "kept 1 of 2" in line and flag in line


def test_nothing_left_and_nothing_to_grade_by_are_refused(
    monkeypatch, capsys, tmp_path, graded, tiny_folder
):
    plain = pairs_file(tmp_path / "p.jsonl", [("q", "a")])
    out = ["--model", tiny_folder, "--out", tmp_path / "out"]
    line = refused(monkeypatch, capsys, sft, "--data", plain, "--keep", "right", *out)
    assert "--keep right" in line and "--save" in line
    flags = ["--data", graded, "--max-response-tokens", 1]
    line = refused(monkeypatch, capsys, sft, *flags, *out)
    assert "nothing is left" in line and "18 too long (--max-response-tokens)" in line
    with open(graded, "a", encoding="utf-8") as file:
        file.write("{}\n")
    assert "line 26: damaged" in refused(monkeypatch, capsys, sft, "--data", graded, *out)
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------- prompts


def test_the_template_is_the_files_own_unless_one_is_given(tmp_path, tokenizer):
    problem = PROBLEMS[0]
    drawn = [response(right(problem)), response("<think>" + right(problem))]
    path = saved(tmp_path / "r.jsonl", [(problem, drawn)], template="r1")
    own = candidates_of(path, tokenizer)
    assert {c.prompt for c in own} == {tasks.prompt(problem, "r1", tokenizer)}
    # The prompt opens the thinking, or the response does, and never both.
    assert {c.response for c in own} == {right(problem)}
    given = candidates_of(path, tokenizer, template="r1-paper")
    assert {c.prompt for c in given} == {tasks.prompt(problem, "r1-paper", tokenizer)}
    assert {c.response for c in given} == {"<think>" + right(problem)}


def test_a_template_wraps_the_questions_of_pairs(tmp_path, tokenizer):
    path = pairs_file(tmp_path / "p.jsonl", [("1+1?", "2")])
    assert candidates_of(path, tokenizer)[0].prompt == "1+1?"
    assert candidates_of(path, tokenizer, template="short")[0].prompt == "1+1?\n<think>"


def test_held_out_problems_are_trained_on_aloud(tmp_path, tokenizer, capsys):
    problems = tasks.make_problems("countdown:3", "held-out", 0, 2) + PROBLEMS[:1]
    groups = [(problem, [response(right(problem))]) for problem in problems]
    path = saved(tmp_path / "r.jsonl", groups)
    assert len(candidates_of(path, tokenizer)) == 3
    assert "2 of its problems are held out" in capsys.readouterr().err
    saved(tmp_path / "r.jsonl", groups[2:])
    candidates_of(path, tokenizer)
    assert "held out" not in capsys.readouterr().err


def test_an_evaluation_can_draw_training_problems_and_holds_others_out_by_default(
    monkeypatch, capsys
):
    drawn = {}
    for seed in (0, 1):
        drawn[seed] = evaluation.held_out("kk:3", 20, split="train", seed=seed)
        assert {tasks.split_of(problem.key) for problem in drawn[seed]} == {"train"}
    assert drawn[0] != drawn[1]
    assert evaluation.held_out("kk:3", 20, seed=1) == evaluation.held_out("kk:3", 20)
    line = refused(monkeypatch, capsys, evaluation, "--suite", "math", "--split", "train")
    assert "no training side" in line


def test_the_two_sides_of_a_file(tmp_path):
    lines = [json.dumps({"question": f"q{i}", "answer": str(i)}) + "\n" for i in range(60)]
    (tmp_path / "d.jsonl").write_text("".join(lines))
    sides = {}
    for split in ("train", "held-out", "all"):
        problems = evaluation.held_out("math", 0, str(tmp_path / "d.jsonl"), split=split)
        sides[split] = {problem.question for problem in problems}
    assert sides["train"] and sides["held-out"]
    assert sides["train"] | sides["held-out"] == sides["all"] and len(sides["all"]) == 60
    assert not sides["train"] & sides["held-out"]


# ---------------------------------------------------------------- epochs


def rows_numbered(n, first=0):
    return [([1], [first + i]) for i in range(n)]


def numbers(steps):
    return [[response[0] for _, response in rows] for rows in steps]


def test_an_epoch_has_each_row_once_in_an_order_of_its_own():
    c = sft.SFTConfig(data="f", epochs=3, rows=4)
    sources = [order.Source(1.0, rows_numbered(10))]
    c = sft.with_steps_of_epochs(c, sources)
    assert c.steps == 8
    steps = numbers(order.rows_of_steps(c, sources, None, None))
    assert list(map(len, steps)) == [4] * 7 + [2]
    seen = sum(steps, [])
    epochs = [seen[:10], seen[10:20], seen[20:]]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 3
    again = numbers(order.rows_of_steps(c, sources, None, None))
    other = sft.SFTConfig(data="f", epochs=3, rows=4, steps=8, seed=1)
    assert again == steps != numbers(order.rows_of_steps(other, sources, None, None))
    # Draws with replacement do not do so.
    drawn = sft.SFTConfig(data="f", rows=10, steps=3)
    for step in numbers(order.rows_of_steps(drawn, sources, None, None)):
        assert len(set(step)) < 10


def test_epochs_and_steps_together_are_refused(monkeypatch, capsys, graded):
    line = refused(monkeypatch, capsys, sft, "--data", graded, "--epochs", 1, "--steps", 3)
    assert "--epochs" in line and "--steps" in line


def test_a_warm_up_that_never_ends_is_said(capsys):
    sources = [order.Source(1.0, rows_numbered(10))]
    sft.with_steps_of_epochs(sft.SFTConfig(data="f", epochs=1, rows=5), sources)
    assert "--warmup 200: --epochs takes 2 steps" in capsys.readouterr().err


def test_the_floor_of_the_learning_rate():
    c = sft.SFTConfig(steps=500, warmup=0, lr=3e-4)
    for step in range(500):  # to the bit as it was before there was a floor to set
        old = c.lr * (0.55 + 0.45 * math.cos(math.pi * (step / 500)))
        assert sft.learning_rate(step, c) == old
    for floor in (0.0, 0.25, 1.0):
        c = sft.SFTConfig(steps=500, warmup=0, lr=1.0, lr_floor=floor)
        assert sft.learning_rate(0, c) == 1.0
        assert sft.learning_rate(500, c) == pytest.approx(floor)


# ---------------------------------------------------------------- mixtures


def test_an_epoch_is_mixed_at_the_share_and_no_mixed_row_comes_twice_before_all_have_come():
    sources = [
        order.Source(0.75, rows_numbered(12)),
        order.Source(0.25, rows_numbered(8, first=100)),
    ]
    c = sft.with_steps_of_epochs(sft.SFTConfig(data="f", epochs=4, rows=16, warmup=0), sources)
    steps = numbers(order.rows_of_steps(c, sources, None, None))
    assert [sum(number >= 100 for number in step) for step in steps] == [4] * 4
    mixed = [number for step in steps for number in step if number >= 100]
    assert sorted(mixed) == sorted(2 * list(range(100, 108)))
    assert sorted(mixed[:8]) == list(range(100, 108))


def test_drawn_rows_are_mixed_at_the_share():
    sources = [
        order.Source(0.8, rows_numbered(5)),
        order.Source(0.2, rows_numbered(5, first=100)),
    ]
    c = sft.SFTConfig(data="f", steps=50, rows=40)
    drawn = sum(numbers(order.rows_of_steps(c, sources, None, None)), [])
    share = sum(number >= 100 for number in drawn) / len(drawn)
    assert len(drawn) == 2000 and abs(share - 0.2) < 0.04  # 4.5 standard deviations


def test_a_task_is_mixed_in(monkeypatch, tmp_path, tiny_folder, graded, tokenizer):
    how = dict(model=tiny_folder, data=graded, keep="right", mix=("kk:2-3:0.25",))
    seen, _ = trained_rows(monkeypatch, tmp_path, epochs=2, rows=16, **how)
    for step in seen:
        texts = [tokenizer.decode(prompt) for prompt, _ in step]
        assert sum("Knights" in text for text in texts) == 4 and len(texts) == 16


def test_mixed_pairs_are_taken_whole_and_mixed_responses_are_chosen(
    monkeypatch, tmp_path, tiny_folder, graded, tokenizer
):
    long = pairs_file(tmp_path / "long.jsonl", [("q", "word " * 50)])
    for mixed, length in ((long, 50), (graded, 1)):
        how = dict(model=tiny_folder, data=graded, keep="right", max_response_tokens=40)
        seen, _ = trained_rows(monkeypatch, tmp_path, steps=4, rows=8, mix=(f"{mixed}:0.5",), **how)
        texts = [tokenizer.decode(row) for step in seen for _, row in step]
        assert max(text.count("word") for text in texts) >= length - 1
        assert not any("<answer>1</answer>" in text for text in texts)


@pytest.mark.parametrize("text", ["kk", "kk:", ":0.5", "kk:0", "kk:1", "kk:x", "countdown:4"])
def test_a_mix_without_a_share_is_refused(text):
    with pytest.raises(UserError, match="FILE:SHARE"):
        sft.SFTConfig(mix=(text,))


def test_a_mix_of_what_is_not_there_or_of_everything_is_refused(tiny_folder, tmp_path):
    with pytest.raises(UserError, match="leave no rows"):
        sft.SFTConfig(mix=("kk:0.5", "countdown:0.5"))
    for mix, says in (("nothing.jsonl:0.5", "no such file"), ("kk:99:0.5", "size of kk")):
        c = sft.SFTConfig(model=tiny_folder, mix=(mix,), out=str(tmp_path / "o"), device="cpu")
        with pytest.raises(UserError, match=says):
            sft.train(c)
    assert not (tmp_path / "o").exists()


# ---------------------------------------------------------------- validation


@pytest.mark.parametrize("length", [{"epochs": 2}, {"steps": 20}])
def test_problems_of_the_validation_are_never_trained_on(
    monkeypatch, tmp_path, tiny_folder, graded, tokenizer, length
):
    measured = []

    def record(model, rows, settings):
        measured.append(rows)
        return 1.0

    monkeypatch.setattr(sft, "mean_loss", record)
    how = dict(model=tiny_folder, data=graded, mix=(f"{graded}:0.4",), validation=0.34, rows=7)
    seen, result = trained_rows(monkeypatch, tmp_path, save_every=2, **how, **length)
    trained = {tuple(prompt) for step in seen for prompt, _ in step}
    held_out = {tuple(prompt) for prompt, _ in measured[0]}
    assert len(trained) == 4 and len(held_out) == 2 and not trained & held_out
    assert len(measured[0]) == 6  # all of their complete responses
    steps = result["steps"]
    assert [*result["validation"]] == [0, *range(2, steps, 2), steps]


def test_the_validation_is_a_function_of_the_seed_and_needs_two_problems():
    candidates = keeping.from_pairs([(f"a\n{i % 50}", "b") for i in range(100)])
    held = keeping.for_validation(candidates, 0.1, 0)
    assert len(held) == 5 == len(held & set(map(keeping.fence, candidates)))
    assert held == keeping.for_validation(candidates, 0.1, 0)
    assert held != keeping.for_validation(candidates, 0.1, 1)
    with pytest.raises(UserError, match="--validation"):
        keeping.for_validation(candidates[:1], 0.1, 0)


def test_no_trace_is_generated_for_a_problem_of_the_validation(monkeypatch):
    real = traces.trace
    keys = []

    def record(problem, habit, rng):
        keys.append(decisive_part(problem.key))
        return real(problem, habit, rng)

    monkeypatch.setattr(traces, "trace", record)
    generated_pairs(random.Random(0), 60, "kk:2")
    avoid = frozenset(keys[:3])
    keys.clear()
    assert len(generated_pairs(random.Random(0), 60, "kk:2", avoid=avoid)) == 60 == len(keys)
    assert not avoid & set(keys)


def test_the_validation_loss_is_the_mean_over_response_tokens(tiny):
    rows = [([1, 2], [3, 4, 5]), ([6], [7])]
    total = 0.0
    with torch.no_grad():
        for prompt, ids in rows:
            logprobs = tiny(torch.tensor([prompt + ids]))[0].log_softmax(-1)
            for place, token in enumerate(ids, len(prompt)):
                total -= logprobs[place - 1, token].item()
    for budget in (1, 2048):
        found = sft.mean_loss(tiny, rows, sft.SFTConfig(token_budget=budget))
        assert found == pytest.approx(total / 4, rel=1e-5)
        assert found != pytest.approx(total / 2, rel=0.1)


def test_the_validation_loss_is_printed(monkeypatch, capsys, tmp_path, tiny_folder, graded):
    flags = ["--model", tiny_folder, "--data", graded, "--epochs", "4", "--rows", "4"]
    flags += ["--validation", "0.3", "--warmup", "0", "--lr", "0.003", "--device", "cpu"]
    monkeypatch.setattr("sys.argv", ["sft.py", *flags, "--out", str(tmp_path / "out")])
    sft.main()
    lines = capsys.readouterr().out.splitlines()
    losses = [float(line.rpartition(" ")[2]) for line in lines[1:]]
    assert [line.rpartition(":")[0] for line in lines[1:]] == [
        "validation loss after 0 steps",
        "validation loss after 12 steps",
    ]
    assert losses[1] < losses[0]


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"keep": "right"}, "--keep"),
        ({"drop_code": True}, "--drop-code"),
        ({"epochs": 2}, "--epochs"),
        ({"validation": 0.1}, "--validation"),
        ({"data": "f", "validation": 1.0}, "below 1"),
        ({"data": "f", "prefer": "shortest"}, "--per-problem"),
        ({"data": "f", "min_language": 1.5}, "at most 1"),
        ({"lr_floor": 2.0}, "at most 1"),
    ],
)
def test_settings_that_cannot_be_meant(settings, says):
    with pytest.raises(UserError, match=says):
        sft.SFTConfig(**settings)


def test_memory_savers_change_no_number(tmp_path, tiny_folder, graded):
    weights = []
    for more in ({}, {"gradient_checkpointing": True}, {"offload_optimizer": True}):
        out = tmp_path / "out"
        how = dict(model=tiny_folder, data=graded, epochs=1, rows=8, warmup=0, device="cpu")
        sft.train(sft.SFTConfig(out=str(out), **how, **more))
        weights.append(weights_of(out))
    assert weights[0] == weights[1] == weights[2]


def test_the_mixture_of_the_base_is_where_it_was():
    assert sft.TASK_SHARE is traces.TASK_SHARE
    assert config.field_types(sft.SFTConfig)["template"] is str


def test_a_task_whose_problems_are_all_validated_on_is_refused(monkeypatch):
    problems = tasks.up_to("kk:2", "train", 0, 1000)  # all that there are
    everything = {decisive_part(problem.key) for problem in problems}
    monkeypatch.setattr("tasks.pairs.PATIENCE", 500)
    with pytest.raises(UserError, match="--validation"):
        training_problem("kk:2", random.Random(0), frozenset(everything))
    monkeypatch.setattr("tasks.pairs.PATIENCE", 20_000)
    for left in sorted(everything)[:3]:
        found = training_problem("kk:2", random.Random(0), frozenset(everything - {left}))
        assert decisive_part(found.key) == left

"""Thoughts: the penalty on switching them, and which is the first right one, by rule."""

import random
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from test_decode import graphed

import sample
import tasks.traces
from config import UserError
from engine.decoder import Decoder
from evaluation import Response, behaviours, tables, thoughts
from evaluation.responses import grade
from evaluation.thoughts import SwitchPenalty, end_of_right_chain, first_right_thought, spellings
from sample import Sampling
from speed import fake_gpu
from speed.memory import SHAPES as REAL

PROMPTS = [[5, 6], [7], [9, 45, 8]]
COUNTDOWN = tasks.Problem("countdown", "", "", "", {"numbers": (3, 5, 12), "target": 24})


def drawn(model, tokenizer, **how):
    return sample.generate(model, tokenizer, PROMPTS, Sampling(40), n=4, seed=3, **how)


def ids_of(rollouts):
    return [rollout.response for rollout in rollouts]


# ---------------------------------------------------------------- the penalty


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_penalty_of_0_is_plain_sampling_to_the_bit(tiny, tokenizer, dtype):
    tiny = tiny.to(dtype)
    plain = ids_of(drawn(tiny, tokenizer))
    for alpha, same in ((0.0, True), (3.0, False)):
        penalty = SwitchPenalty(("7", "4"), alpha, 20, tiny, tokenizer)
        assert (ids_of(drawn(tiny, tokenizer, bias=penalty)) == plain) == same


def test_a_large_penalty_keeps_switches_out_of_the_window(tiny, tokenizer):
    tiny.stop_ids = ()
    switches = {}
    for window in (12, 4):
        penalty = SwitchPenalty(("7",), 0.0, window, tiny, tokenizer)
        penalty.spellings = [torch.tensor([i]) for i in range(60)]  # so that there are many
        penalty.penalty[:60] = -1e4
        switches[window] = 0
        for ids in ids_of(drawn(tiny, tokenizer, bias=penalty)):
            begins = [0] + [i + 1 for i, token in enumerate(ids) if token < 60]
            for begin, following in zip(begins, begins[1:]):
                assert following - 1 >= begin + window
            switches[window] += len(begins) - 1
    assert 0 < switches[12] < switches[4]  # behind the window they come


def test_a_window_begins_behind_all_ids_of_a_spelling(tiny, tokenizer):
    rng = random.Random(0)
    penalty = SwitchPenalty(("ab",), 2.0, 3, tiny, tokenizer)
    penalty.spellings = [torch.tensor([1, 2])]
    rows = [[rng.randint(1, 2) for _ in range(12)] for _ in range(40)]
    counts = [rng.randint(0, 12) for _ in rows]
    added = penalty(list(range(40)), torch.tensor(rows), torch.tensor(counts))
    for row, count, values in zip(rows, counts, added):
        begins = [0] + [i + 2 for i in range(count - 1) if row[i : i + 2] == [1, 2]]
        inside = any(count - begin < 3 for begin in begins)
        assert values.min().item() == (-2.0 if inside else 0.0)
        assert torch.equal(values, penalty.penalty * inside)


def test_neither_slots_nor_the_order_of_rows_change_what_a_penalty_does(tiny, tokenizer):
    tiny.stop_ids = tuple(range(8))
    penalty = SwitchPenalty(("7", "ab"), 3.0, 5, tiny, tokenizer)
    expected = ids_of(drawn(tiny, tokenizer, bias=penalty))
    assert len(set(map(len, expected))) > 4
    assert ids_of(drawn(tiny, tokenizer, bias=penalty, slots=3)) == expected
    greedy = Sampling(40, temperature=0.0)
    forth = sample.generate(tiny, tokenizer, PROMPTS, greedy, bias=penalty)
    back = sample.generate(tiny, tokenizer, PROMPTS[::-1], greedy, bias=penalty)
    assert ids_of(forth) == ids_of(back[::-1])


def test_on_a_gpu_a_bias_steps_without_graphs_one_check_at_a_time(tiny, tokenizer, monkeypatch):
    tiny.stop_ids = tuple(range(8))
    penalty = SwitchPenalty(("7",), 3.0, 5, tiny, tokenizer)
    expected = ids_of(drawn(tiny, tokenizer, bias=penalty))
    decoder = graphed(tiny, monkeypatch, 7, 43, 40)
    monkeypatch.setattr(Decoder, "capture", lambda *of: pytest.fail("a graph is captured"))
    assert ids_of(drawn(tiny, tokenizer, bias=penalty, decoder=decoder)) == expected
    gpu = torch.device("cuda")
    assert sample.default_check_every(gpu, penalty) == 1
    assert sample.default_check_every(gpu, None) == sample.CHECK_EVERY_ON_GPU


@torch.no_grad()
def test_on_a_gpu_a_penalty_is_computed_there_and_the_host_waits_for_nothing(tokenizer):
    shape = replace(REAL["qwen2.5-1.5b"], num_hidden_layers=1)
    with fake_gpu.on_cuda() as noted:
        model = fake_gpu.model_of(shape, torch.bfloat16, "cuda:0")
        model.stop_ids = (151643,)
        decoder = Decoder(model, 16).make_room(1536, 1024)
        penalty = SwitchPenalty(("7", "ab"), 3.0, 600, model, tokenizer)
        noted.clear()
        with fake_gpu.Watch(seen=600) as watch:
            step = sample.biased_step(penalty, SimpleNamespace(in_use=16, owner=list(range(16))))
            step(decoder, [(16, 768)], Sampling(1024))
        assert not noted.reads and not noted.sent and not watch.refused


def test_a_words_spellings_begin_with_an_id_that_is_no_blank(tokenizer):
    found = spellings(("no",), tokenizer)
    texts = [tokenizer.decode(ids) for ids in found]
    assert sorted(texts) == [" no", "No", "no"]  # " No" is a blank and "No"
    for ids in spellings(("Alternatively",), tokenizer):
        assert tokenizer.decode(ids[:1]).strip()
        assert tokenizer.decode(ids).strip().lower() == "alternatively"


# ---------------------------------------------------------------- the first right thought


@pytest.mark.parametrize(
    "text,until",
    [
        ("5-3=2\n2*12=24 yes\n12+3=15", "5-3=2\n2*12=24"),
        ("12*2=24\n5-3=2\n12 × 2 = 24.", "12*2=24\n5-3=2\n12 × 2 = 24"),
        ("5-3=2\n2+12=14 no\n2*12=24 yes", "5-3=2\n2+12=14 no\n2*12=24"),  # 2 is still there
        ("5+3=8\n8+12=20 no\n5-3=2\n12*2=24", "5+3=8\n8+12=20 no\n5-3=2\n12*2=24"),
        ("5-3=2\n2*12=25 no", None),  # a slip
        ("5*3=15\n12+12=24", None),  # 12 is there once
        ("12*2=24", None),
        ("3+5=8\n8*3=24", None),  # the 3 is used, the 12 is not
        ("15-3=12\n12+12=24", None),
        ("(5-3)*12=24", "(5-3)*12"),
        ("0/0=0 and 12/0=0", None),
    ],
)
def test_where_the_first_right_thought_of_a_countdown_response_ends(text, until):
    found = first_right_thought(text, COUNTDOWN)
    assert (None if found is None else text[:found]) == until


@pytest.mark.parametrize("size", [3, 4])
def test_the_searches_of_the_embedded_base_end_at_their_first_right_thought(size):
    rng = random.Random(0)
    reached = 0
    for problem in tasks.make_problems(f"countdown:{size}", "train", 0, 60):
        text = tasks.traces.trace(problem, "search", rng)
        thinking = text.partition("</think>")[0]
        facts = problem.facts
        end = end_of_right_chain(thinking, facts["numbers"], facts["target"])
        if " yes" in thinking and end is not None:
            assert thinking[end:] == " yes"
            reached += 1
        elif end is None:
            assert " yes" not in thinking or is_slip(thinking)
    assert reached > 40


def is_slip(thinking: str) -> bool:
    """Whether a step of a trace is wrong."""
    steps = thoughts.STEP.finditer(thinking)
    return not all(
        thoughts.is_right(int(step[1]), step[2], int(step[3]), int(step[4])) for step in steps
    )


def test_in_maths_it_is_the_first_right_answer_and_in_kk_there_is_no_rule():
    maths = tasks.Problem("math", "", "35", "")
    text = "x = 34. No,\nx = 35\nor \\boxed{36}"
    assert text[: first_right_thought(text, maths)] == "x = 34. No,\nx = 35"
    assert first_right_thought("x = 34", maths) is None
    (kk,) = tasks.make_problems("kk", "held-out", 0, 1)
    group = grade(kk, [Response("x", 3, True)], "dr_grpo")
    assert thoughts.figures([group])["underthinking"] == (None, None, None)


def test_the_figures_of_thoughts_by_hand():
    right = "5-3=2\n2*12=24 yes\n</think> <answer>12*(5-3)</answer>"
    left = "5-3=2\n2*12=24 no\n5+3=8\n8+12=20</think> <answer>8+12</answer>"
    lost = "5+3=8</think> <answer>8+12</answer>"
    where = [text.find("24") + 2 for text in (right, left)]
    group = [
        Response(right, 30, True, (where[0], len(right))),
        Response(left, 20, True, (where[1], len(left))),
        Response(lost, 9, True, (len(lost),)),
        Response(lost, 9, True, (len(lost),)),
    ]
    graded = [grade(COUNTDOWN, group, "dr_grpo")]
    assert graded[0].right == [True, False, False, False]
    found = behaviours(graded)
    assert found["outcome_efficiency"] == pytest.approx((16 / 30) / 4)
    assert found["underthinking"] == pytest.approx((1 - 16 / 20) / 3)
    assert found["right_thought"] == pytest.approx(1 / 3)
    assert found["efficiency"] > found["outcome_efficiency"]  # steps are no stated answer
    shown = tables.thought_lines({"one": found}, {"one": found})
    assert "underthinking" in shown[2]


def test_a_switch_word_that_the_model_cannot_say_is_one_line(tiny, tokenizer):
    vocabulary = tokenizer("7", add_special_tokens=False)["input_ids"][0]
    small = SimpleNamespace(config=SimpleNamespace(vocab_size=vocabulary), device=tiny.device)
    with pytest.raises(UserError, match="embeddings"):
        SwitchPenalty(("7",), 1.0, 5, small, tokenizer)


def test_intervals_of_shares_stay_from_0_to_1():
    value, low, high = thoughts.share_of_tokens([[0.0], [0.5]])
    assert (value, low) == (0.25, 0.0) and high < 1
    value, low, high = thoughts.share_of_tokens([[1.0], [0.5]])
    assert (value, high) == (0.75, 1.0) and low > 0
    assert thoughts.share_of_tokens([]) == (None, None, None)

"""The benchmark's arithmetic against values worked out by hand, its sides against each other, its programs at tiny size."""

import copy
import json
import math
import sys
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from conftest import make_tiny

import bench
import model as lm
import reward
import sample
import tasks
from config import UserError
from sample import Sampling
from speed import cpu as bench_cpu
from speed import (
    curves,
    decode_kernels,
    figures,
    floors,
    measure,
    side_ours,
    side_transformers,
    side_trl,
)
from speed import report as bench_report
from speed import rows as bench_rows
from speed import scaling as bench_scaling
from speed import subject as bench_subject
from speed.figures import EVERY_ROW, Round
from speed.floors import Machine
from speed.lengths import even_lengths, lognormal_lengths, makespan
from speed.measure import Side, Unable

CPU = torch.device("cpu")
SMALL_BASE = lm.ModelConfig(
    576, 64, 128, 2, 4, 2, tie_word_embeddings=True
)  # of the base's vocabulary
# by hand: 120 weights in the layer's matrices, 40 in the head, 8 biases, 12 in norms; D = 2
SMALL = lm.ModelConfig(
    vocab_size=10,
    hidden_size=4,
    intermediate_size=6,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=1,
    tie_word_embeddings=True,
)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Continuous batching works in a thread of its own: two pools of two threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small():
    return lm.Transformer(SMALL)


@pytest.fixture
def quick_machine(monkeypatch):
    for room in (bench_cpu, floors):
        monkeypatch.setattr(room, "measure_machine", lambda *_: Machine(1e10, 1e11))


# ---------------------------------------------------------------- lengths


def test_lengths_are_log_normal_quantiles_up_to_eight_times_the_mean():
    assert lognormal_lengths(1, 100, 0) == [round(100 * math.exp(-0.5))]  # the median
    lengths = lognormal_lengths(1024, 128, 0)
    assert (
        max(lengths) == 1024
        and min(lengths) >= 1
        and sum(lengths) / 1024 == pytest.approx(128, rel=0.03)
    )
    others = lognormal_lengths(1024, 128, 1)
    assert others != lengths and sorted(others) == sorted(
        lengths
    )  # every round has the same work to do


@pytest.mark.parametrize(
    "lengths, slots, steps",
    [([3, 1, 2], 2, 3), ([5, 1, 1, 1], 2, 5), ([1, 1, 4], 2, 5), ([2, 3], 1, 5)],
)
def test_steps_of_perfect_refilling(lengths, slots, steps):
    assert makespan(lengths, slots) == steps != makespan(lengths, 3 - slots)


def test_even_lengths_add_up_and_cost_least(small):
    assert even_lengths(7, 3) == [3, 2, 2]
    even = floors.rollout_work(small, [3], 3, even_lengths(7, 3), 3)
    for other in ([5, 1, 1], [4, 2, 1], [1, 3, 3]):
        size, operations = floors.rollout_work(small, [3], 3, other, 3)
        assert size >= even[0] and operations >= even[1]
    assert floors.rollout_work(small, [3], 3, [5, 1, 1], 3) > even


# ---------------------------------------------------------------- floors


def test_weights_and_bytes_worked_out_by_hand(small):
    assert floors.matrix_weights(small) == (120, 40)
    assert floors.weight_bytes(small) == 180 * 4 and floors.kv_bytes(small) == 2 * 2 * 4
    untied = lm.Transformer(bench_scaling.replace(SMALL, tie_word_embeddings=False))
    assert floors.weight_bytes(untied) == 180 * 4  # of the embedding only single rows are read
    assert floors.weight_bytes(untied.to(torch.bfloat16)) == 180 * 2


def test_work_worked_out_by_hand(small):
    assert floors.decode_work(small, 2, 5) == (720 + 2 * 5 * 16, 2 * 160 * 2 + 4 * 2 * 2 * 10)
    assert floors.forward_operations(small, [3, 2], 4) == 2 * (120 * 5 + 40 * 4) + 16 * (6 + 3)
    # one prompt of 3, responses of 1 and 2 in two slots: two steps; what the three tokens see: 3, 3 and 4
    operations = 2 * 160 * 3 + 16 * 10 + 2 * 120 * 2 + 16 * 3
    assert floors.rollout_work(small, [3], 2, [1, 2], 2) == (2 * 720 + 10 * 16, operations)
    assert floors.update_operations(small, [3], 2, [1, 2]) == 3 * operations


@pytest.mark.parametrize("part", ["weight_bytes", "kv_bytes"])
@pytest.mark.parametrize("factor", [0, 0.5, 2])
def test_a_wrong_count_of_bytes_shows(small, monkeypatch, part, factor):
    right, real = floors.decode_work(small, 2, 5), getattr(floors, part)
    monkeypatch.setattr(floors, part, lambda model: factor * real(model))
    assert floors.decode_work(small, 2, 5) != right


def test_operations_agree_with_those_that_torch_counts(small):
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        small(torch.zeros(1, 8, dtype=torch.int64))
    linear = sum(n for name, n in counter.get_flop_counts()["Global"].items() if "mm" in str(name))
    whole = floors.forward_operations(small, [8], 8)
    assert linear == whole - floors.attention_operations(small, 36) != 2 * linear


def test_the_update_s_operations_are_those_that_torch_counts_with_each_prompt_once(small):
    from torch.utils.flop_counter import FlopCounterMode

    # Two groups of two; no padding, for lengths are equal.
    prompts = [[1, 2, 3, 4]] * 2 + [[5, 6, 7, 8]] * 2
    responses = [[1, 2, 3]] * 4
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        lm.SharedPrompts(small, prompts, 1000).response_logprobs(prompts, responses)
    counts = {str(name): n for name, n in counter.get_flop_counts()["Global"].items()}
    linear = sum(n for name, n in counts.items() if name in ("aten.mm", "aten.addmm"))
    whole = floors.group_operations(small, [4, 4], 2, [3] * 4)
    # What 3 tokens of each prompt see, and 3 of each response.
    seen = 2 * (1 + 2 + 3) + 4 * (4 + 5 + 6)
    assert linear == whole - floors.attention_operations(small, seen)
    # The fault: a prompt is counted once for each of its responses.
    assert floors.forward_operations(small, [6] * 4, 12) > whole
    assert floors.forward_operations(small, [6], 3) == floors.group_operations(small, [4], 1, [3])


def test_the_floor_is_the_longer_of_the_two():
    machine = Machine(bandwidth=100.0, rate=1000.0)
    assert machine.floor(200, 1000) == (2.0, "bytes") and machine.floor(50, 1000) == (
        1.0,
        "operations",
    )


def test_the_machine_is_measured_in_bytes_and_operations(monkeypatch):
    monkeypatch.setattr(floors, "seconds_of", lambda call, device: (call(), 0.5)[1])
    machine = floors.measure_machine(CPU, torch.float32, 1000, 10)
    assert machine == Machine(2 * 1000 / 0.5, 2 * 10**3 / 0.5)


# ---------------------------------------------------------------- turns


def test_sides_take_turns_and_the_first_round_is_thrown_away():
    calls = []

    def side(name, seconds):
        return Side(lambda: calls.append(name) or seconds.pop(0))

    found = measure.take_turns(
        {"a": side("a", [9.0, 1.0, 2.0]), "b": side("b", [9.0, 3.0, 4.0])}, 2, 100, CPU
    )
    assert calls == list("ababab") and found == {"a": [1.0, 2.0], "b": [3.0, 4.0]}
    assert measure.spread([5.0, 1.0, 2.0]) == [2.0, 1.0, 5.0]


def test_a_side_without_patience_memory_or_package_says_so_and_the_others_go_on():
    def fail(error):
        raise error

    work = {
        "slow": Side(lambda: 5.0, warm=lambda: None),
        "big": Side(lambda: fail(torch.OutOfMemoryError("x"))),
        "lame": Side(lambda: fail(Unable("no kernel"))),
        "fine": Side(lambda: 1.0),
    }
    assert measure.take_turns(work, 3, 4.0, CPU) == {
        "slow": [5.0],
        "big": "out of memory",
        "lame": "does not run here: no kernel",
        "fine": [1.0] * 3,
    }
    with pytest.raises(KeyError):  # a fault of ours stays one
        measure.take_turns({"broken": Side(lambda: {}["x"])}, 1, 1.0, CPU)


# ---------------------------------------------------------------- figures


def test_ratios_are_taken_within_a_round():
    ours, theirs = (
        [Round(99, 1), Round(1, 100), Round(2, 100), Round(1, 50)],
        [Round(99, 1), Round(4, 100), Round(6, 150), Round(9, 100)],
    )
    found = figures.figures({figures.OURS: ours, figures.STATIC: theirs}, 10)
    # tokens/s ours 100, 50, 50; theirs 25, 25, 100/9
    assert found[figures.STATIC]["tokens/s ratio"] == pytest.approx([4.0, 2.0, 4.5])
    assert found[figures.STATIC]["seconds ratio"] == pytest.approx([4.0, 3.0, 9.0])
    assert found[figures.OURS]["tokens/s"] == [50, 50, 100] and found[figures.OURS][
        "length"
    ] == pytest.approx(250 / 30)
    swapped = figures.figures({figures.OURS: theirs, figures.STATIC: ours}, 10)
    assert swapped[figures.STATIC]["tokens/s ratio"][0] == pytest.approx(1 / 4)


def test_the_step_to_quote_is_trls_best_cut():
    def at(seconds):
        rounds = {
            figures.OURS: [Round(1, 10)] * 2,
            figures.EVERY_ROW: [Round(1, 10)] * 2,
            figures.TRL: [Round(seconds, 10)] * 2,
        }
        return figures.figures(rounds, 1)

    text = figures.quote({"one cut": at(7.0), "another": at(5.0)})
    assert "another, ours 5.00" in text and "7.00" not in text


def test_the_floors_of_a_table_add_up():
    parts = {"sampling": (0.5, "bytes"), "update": (1.5, "operations")}
    text = figures.floor_line(parts, {"ours": {"seconds": [4.0, 3.0, 5.0]}})
    assert "sampling 0.500 s, by bytes; update 1.500 s, by operations" in text
    assert "ours 50.0%" in text


def test_a_straight_line_is_found_and_noise_is_not_explained():
    assert bench_scaling.line_through([1, 2, 4], [5, 7, 11]) == pytest.approx((3, 2, 1))
    assert bench_scaling.line_through([1, 2, 4], [5, 11, 7])[2] < 0.5


def test_a_row_stands_beside_its_floor_and_ours(tmp_path, capsys):
    report = bench_report.Report(bench_subject.RowsConfig(json=str(tmp_path / "x.json")), CPU)
    report.times(
        "decode",
        {"ours": [2.0], "static": [6.0], "trl": "is not installed"},
        100,
        Machine(10.0, 1e9),
        (10, 1),
    )
    out, row = capsys.readouterr().out, json.loads((tmp_path / "x.json").read_text())["decode"]
    assert (
        "50.0% of the floor's speed" in out
        and "ours 3.00 x" in out
        and "50 tokens/s" in out
        and "not installed" in out
    )
    assert row["floor"] == 1.0 and row["floor_by"] == "bytes" and row["sides"]["static"] == [6.0]
    report.add("next", 1, "")  # and the file is whole again after each row
    assert {"decode", "next"} < set(json.loads((tmp_path / "x.json").read_text()))


# ---------------------------------------------------------------- the sides do the same work


@pytest.fixture(scope="module")
def pair(tokenizer):
    model = bench_subject.random_model(bench_subject.TINY, 512, CPU, torch.float32)
    return model, bench_subject.their_model(model, tokenizer)


def test_transformers_has_the_very_weights_of_ours(pair):
    model, theirs = pair
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, model(ids))
        model.embed_tokens.weight[5].neg_()
        torch.testing.assert_close(theirs(ids).logits, model(ids))  # one tensor, not two
        model.embed_tokens.weight[5].neg_()
        assert (theirs(ids).logits - 2 * model(ids)).abs().max() > 0.1
    names = dict(theirs.named_parameters())
    assert names["model.norm.weight"] is not model.norm.weight  # gradients are each side's own


def test_imposed_lengths_are_those_of_every_side(pair, tokenizer):
    model, theirs = pair
    prompts, limits = [[5, 6, 7], [8, 9]], [4, 1, 7, 2]
    rollouts = side_ours.our_rollouts(model, tokenizer, prompts, 2, limits, Sampling(8), 0)
    assert [len(r.response) for r in rollouts] == limits
    rows = [p for p in prompts for _ in range(2)]
    tokens, ticks = side_transformers.static(theirs, rows, limits, 8, [0], 0)
    assert tokens == 14 and len(ticks) == 7  # generate went on to the longest row and no further


def test_continuous_batching_has_the_imposed_lengths_and_leaves_the_model_as_it_was(pair):
    before = pair[1].config._attn_implementation
    try:
        tokens, seconds = side_transformers.continuous(
            pair[1], [[5, 6, 7], [8, 9]], [4, 7], 8, [0], 0
        )
    except Unable as why:
        pytest.skip(f"transformers' continuous batching does not run here: {why}")
    finally:
        assert pair[1].config._attn_implementation == before
    assert tokens == 11 and seconds > 0


def test_a_sampler_that_ignores_the_limits_is_caught(pair, tokenizer, monkeypatch):
    monkeypatch.setattr(sample, "generate", lambda *_, **__: [sample.Rollout([1], [2, 3])])
    with pytest.raises(AssertionError, match="imposed"):
        side_ours.our_rollouts(pair[0], tokenizer, [[1]], 1, [3], Sampling(8), 0)


def test_forced_lengths_end_each_row_with_a_stop_token_and_none_before(tokenizer):
    model = bench_subject.random_model(SMALL_BASE, 512, CPU, torch.float32)
    theirs, limits = bench_subject.their_model(model, tokenizer), [1, 5, 3]
    side_trl.impose(theirs, limits, [0])
    ids = torch.full((3, 2), 7)
    out = theirs.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=True,
        max_new_tokens=8,
        eos_token_id=0,
        pad_token_id=1,
    )[:, 2:].tolist()
    assert [row.index(0) + 1 for row in out] == limits


def test_useful_tokens_end_with_the_stop_token(pair, monkeypatch):
    out = torch.tensor(
        [[7, 7, 3, 0, 1, 1], [7, 7, 3, 4, 5, 0], [7, 7, 0, 1, 1, 1], [7, 7, 3, 3, 3, 3]]
    )
    model = SimpleNamespace(device=CPU, generate=lambda **_: out)
    assert side_transformers.static(model, [[7, 7]] * 4, None, 4, [0], 0)[0] == 2 + 4 + 1 + 4


def test_both_log_prob_passes_score_the_same_ids(pair):
    model, theirs = pair
    batch = [sample.Rollout([5, 6, 7], [8, 9]), sample.Rollout([3], [4, 5, 6])]
    seen = []
    real = theirs.forward
    theirs.forward = lambda **given: seen.append(given) or real(**given)
    try:
        side_transformers.their_logprobs(theirs, [batch])
    finally:
        del theirs.forward
    assert seen[0]["input_ids"].tolist() == [[5, 6, 7, 8, 9, 0], [0, 0, 3, 4, 5, 6]]
    assert seen[0]["attention_mask"].tolist() == [[1, 1, 1, 1, 1, 0], [0, 0, 1, 1, 1, 1]]
    assert seen[0]["logits_to_keep"] == 4  # and of these the first three are read


# ---------------------------------------------------------------- attention


def ragged():
    torch.manual_seed(0)
    return (
        torch.randn(4, 6, 1, 8),
        torch.randn(4, 2, 32, 8),
        torch.randn(4, 2, 32, 8),
        torch.tensor([3, 17, 1, 32]),
    )


def one_by_one(query, key, value, at_q, at_k, used):
    """What varlen attention is documented to compute, a sequence at a time."""
    out = torch.empty_like(query)
    for i in range(len(at_q) - 1):
        k, v = (t[at_k[i] : at_k[i] + used[i]].transpose(0, 1)[None] for t in (key, value))
        q = query[at_q[i] : at_q[i + 1]].transpose(0, 1)[None]
        out[at_q[i] : at_q[i + 1]] = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)[
            0
        ].transpose(0, 1)
    return out


def test_the_kernels_are_given_the_same_problem():
    q, k, v, lengths = ragged()
    calls = decode_kernels.kernels(q, k, v, lengths)
    right = calls["matrix products, written out"]()
    torch.testing.assert_close(calls["SDPA with a mask"](), right)
    given = decode_kernels.varlen_arguments(q, k, v, lengths)
    assert given[1].data_ptr() == k.data_ptr()  # the cache itself, not a copy
    torch.testing.assert_close(one_by_one(*given).view(q.shape), right)
    wrong = one_by_one(*given[:-1], given[-1].roll(1)).view(q.shape)
    assert (wrong - right).abs().max() > 0.01


def test_the_installed_varlen_attention_takes_these_arguments():
    meta = [t.to("meta") for t in ragged()]
    assert decode_kernels.varlen_call(*meta, 32)().shape == (4, 6, 1, 8)


@pytest.mark.gpu
def test_the_kernels_agree_on_a_gpu():
    found, _ = decode_kernels.compare(
        SMALL_HEADS, 16, 100, torch.device("cuda"), torch.bfloat16, Machine(1e12, 1e14), 2
    )
    assert all(f["largest_difference"] < 0.05 for f in found["kernels"].values())


SMALL_HEADS = lm.ModelConfig(64, 768, 64, 1, 12, 2)


# ---------------------------------------------------------------- the programs


def program(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["bench.py", *map(str, arguments)])
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)  # the other tests' number stays
    # It adds a reward: take that out again at the end.
    monkeypatch.setitem(reward.REWARDS, EVERY_ROW, None)
    bench.main()


TINY_ROWS = (
    "--shape",
    "tiny",
    "--device",
    "cpu",
    "--slots",
    "1,4",
    "--rollouts",
    "8",
    "--prompts",
    2,
    "--group",
    4,
    "--prompt-tokens",
    24,
    "--max-new-tokens",
    16,
    "--context",
    16,
    "--repeats",
    1,
)


def test_cuda_rows_run_on_a_cpu(monkeypatch, tmp_path, capsys):
    program(monkeypatch, "cuda", *TINY_ROWS, "--json", tmp_path / "rows.json")
    found, out = json.loads((tmp_path / "rows.json").read_text()), capsys.readouterr().out
    for row in bench_subject.ROWS:
        assert any(title.startswith({"logprobs": "log-prob"}.get(row, row)) for title in found), row
    step = next(value for title, value in found.items() if title.startswith("step"))
    assert {"seconds of sample", "seconds of reward", "seconds of update"} == set(step["more"])
    assert "is not installed" in out or isinstance(step["sides"]["trl"], list)
    ours = [v["sides"]["ours"] for v in found.values() if isinstance(v, dict) and "sides" in v]
    assert len(ours) == 8 and all(isinstance(seconds, list) and seconds for seconds in ours)


def test_in_bf16_the_update_and_the_step_share_an_optimizer(monkeypatch, tmp_path):
    monkeypatch.setattr(bench_subject, "pick_dtype", lambda *rest: (torch.bfloat16, ""))
    program(
        monkeypatch, "cuda", *TINY_ROWS, "--rows", "update,step", "--json", tmp_path / "rows.json"
    )
    found = json.loads((tmp_path / "rows.json").read_text())
    assert all(
        isinstance(v["sides"]["ours"], list)
        for title, v in found.items()
        if title.startswith(("update", "step"))
    )


def test_a_row_without_memory_says_so_and_the_next_one_runs(monkeypatch, tmp_path, capsys):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(bench_rows, "decode_row", full)
    program(
        monkeypatch,
        "cuda",
        *TINY_ROWS,
        "--rows",
        "decode,prefill",
        "--json",
        tmp_path / "rows.json",
    )
    found = json.loads((tmp_path / "rows.json").read_text())
    assert found["decode"] == "out of memory" and any(
        title.startswith("prefill") for title in found
    )
    assert "decode: out of memory" in capsys.readouterr().out


def test_cpu_runs_at_a_tiny_size(monkeypatch, tmp_path, quick_machine, capsys):
    program(
        monkeypatch,
        "cpu",
        "--json",
        tmp_path / "cpu.json",
        "--prompts",
        2,
        "--group",
        4,
        "--max-new-tokens",
        16,
        "--repeats",
        1,
        "--slots",
        "4",
        "--context",
        16,
        "--rows",
        "sampler,step,decode",
        "--skip-trl",
    )
    found, out = json.loads((tmp_path / "cpu.json").read_text()), capsys.readouterr().out
    assert {"sampler, its own lengths", "sampler, lengths imposed", "step"} < set(found)
    imposed = found["sampler, lengths imposed"]
    assert imposed["ours"]["length"] == imposed["transformers"]["length"]
    assert "to quote" in out and "TRL is skipped: --skip-trl" in out


def test_cpu_beside_trl(monkeypatch, tmp_path, quick_machine):
    pytest.importorskip("trl", reason="TRL is not installed: pip install -r requirements-bench.txt")
    program(
        monkeypatch,
        "cpu",
        "--json",
        tmp_path / "cpu.json",
        "--prompts",
        2,
        "--group",
        4,
        "--max-new-tokens",
        16,
        "--repeats",
        1,
        "--rows",
        "step",
        "--cuts",
        "2",
        "--threads",
        torch.get_num_threads(),
    )
    found = json.loads((tmp_path / "cpu.json").read_text())["step, TRL 4 x 2"]
    ours, theirs = (found[side]["tokens/s"][0] for side in ("ours", "TRL"))
    assert found["ours"]["tokens/s ratio"][0] == pytest.approx(ours / theirs)


CHAT = "{% for message in messages %}{{ message['content'] }}{% endfor %}\n<think>"


@pytest.fixture
def chat_folder(tmp_path, tokenizer):
    """A tiny model with a chat template, as an instruct model has one."""
    talking = copy.deepcopy(tokenizer)
    talking.chat_template = CHAT
    lm.save(tmp_path / "chat", make_tiny(talking), talking)
    return str(tmp_path / "chat")


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_cpu_with_a_model_gives_all_sides_its_weights_type_and_prompts(
    monkeypatch, tmp_path, quick_machine, capsys, chat_folder, dtype
):
    pytest.importorskip("trl", reason="TRL is not installed: pip install -r requirements-bench.txt")
    types, given_ids, autocast = set(), [], set()
    run_steps = side_trl.run_steps

    def watched(model, *rest):
        generate, forward = model.generate, model.model.forward

        def spied(**given):
            pairs = zip(given["input_ids"], given["attention_mask"])
            given_ids.extend(ids[mask == 1].tolist() for ids, mask in pairs)
            return generate(**given)

        def training(*args, **given):
            if torch.is_grad_enabled():
                autocast.add(torch.is_autocast_enabled("cpu"))
            return forward(*args, **given)

        model.generate, model.model.forward = spied, training
        types.update(p.dtype for p in model.parameters())
        run_steps(model, *rest)

    monkeypatch.setattr(side_trl, "run_steps", watched)
    program(
        monkeypatch,
        "cpu",
        *("--model", chat_folder, "--dtype", dtype, "--json", tmp_path / "cpu.json"),
        *("--prompts", 2, "--group", 4, "--max-new-tokens", 16, "--repeats", 1, "--cuts", "2"),
        *("--threads", torch.get_num_threads()),
    )
    found, out = json.loads((tmp_path / "cpu.json").read_text()), capsys.readouterr().out
    # the same type and the same prompts
    assert types == {dict(fp32=torch.float32, bf16=torch.bfloat16)[dtype]}
    assert autocast == {dtype == "bf16"}
    assert f"computes in {dtype}" in out and f"{dtype} on all sides" in out
    model, tokenizer = lm.load(chat_folder)
    problems = tasks.make_problems("sums:20", "train", "bench", 2)
    wanted = tasks.encode_prompts(problems, "chat", tokenizer, model.config.vocab_size)
    assert given_ids == [ids for _ in range(2) for ids in wanted for _ in range(4)]
    # as many tokens, and every table with its floor
    titles = [f"sampler, {kind}" for kind in (bench_cpu.OWN, bench_cpu.IMPOSED, bench_cpu.EQUAL)]
    for title in titles[1:]:
        sides = [side for name, side in found[title].items() if "floor" not in name]
        assert len({side["length"] for side in sides}) == 1
    assert found[titles[2]]["ours"]["length"] == 16
    assert all(found[f"{title}: floor"]["sampling"][0] > 0 for title in titles)
    assert set(found["step, TRL 4 x 2: floor"]) == {"sampling", "update"}
    assert out.count("at least: sampling") == 4


def test_both_sides_of_a_headline_have_the_same_bf16_weights(
    monkeypatch, tmp_path, chat_folder, tokenizer
):
    monkeypatch.setitem(reward.REWARDS, EVERY_ROW, None)
    settings = bench_cpu.CpuConfig(model=chat_folder, dtype="bf16", skip_trl=True)
    settings = bench_cpu.settings_for(settings, {"model", "dtype", "skip_trl"})
    headline = bench_cpu.set_up(settings, str(tmp_path), None)
    theirs = bench_cpu.load_theirs(headline).state_dict()
    ours = lm.checkpoint_tensors(headline.run.model)
    assert all(torch.equal(theirs[name], tensor) for name, tensor in ours.items())
    in_fp32 = lm.checkpoint_tensors(lm.load(chat_folder)[0])
    assert not all(torch.equal(theirs[name].float(), tensor) for name, tensor in in_fp32.items())
    masters = headline.run.optimizer.named_masters()
    assert {master.dtype for master in masters.values()} == {torch.float32}
    headline.run.lock.release()


def test_a_model_has_defaults_of_its_own_which_flags_beat():
    plain = bench_cpu.CpuConfig()
    assert bench_cpu.settings_for(plain, {"prompts"}) == plain
    given = bench_cpu.CpuConfig(model="x", prompts=3, rows="decode")
    found = bench_cpu.settings_for(given, {"model", "prompts", "rows"})
    assert (found.prompts, found.group, found.max_new_tokens) == (3, 16, 16)
    assert (found.task, found.template, found.answer_style) == ("sums:20", "chat", "last-number")
    assert (found.rows, found.cuts) == ("decode", "4,16")
    odd = bench_cpu.CpuConfig(model="x", prompts=1, group=6)
    assert bench_cpu.settings_for(odd, {"model", "prompts", "group"}).cuts == ""


@pytest.mark.parametrize(
    "text, wanted, given",
    [("<s>ab", [1, 2, 3], "ab"), ("ab", [1, 2, 3], "ab"), ("ab", [2, 3], None)],
)
def test_trl_is_given_the_text_that_it_turns_into_the_same_ids(text, wanted, given):
    class Tokenizer:
        """It adds a first token to every text, also to one that has it."""

        bos_token = "<s>"

        def __call__(self, text):
            begun = [1] if text.startswith("<s>") else []
            rest = [{"a": 2, "b": 3}[letter] for letter in text.removeprefix("<s>")]
            return {"input_ids": [1] + begun + rest}

    if given is None:
        with pytest.raises(UserError, match="--skip-trl"):
            side_trl.text_for_trl(text, wanted, Tokenizer())
    else:
        assert side_trl.text_for_trl(text, wanted, Tokenizer()) == given


def test_scaling_runs_at_a_tiny_size(monkeypatch, tmp_path, quick_machine, capsys):
    monkeypatch.setattr(floors, "measure_machine", lambda *_: Machine(1e10, 1e11))
    program(
        monkeypatch,
        "scaling",
        "--json",
        tmp_path / "s.json",
        "--plot",
        tmp_path / "s.png",
        "--rollouts",
        "16,32",
        "--contexts",
        "16,64,4096",
        "--groups",
        "16,64",
        "--rows",
        2,
        "--repeats",
        1,
        "--max-new-tokens",
        8,
    )
    found, out = json.loads((tmp_path / "s.json").read_text()), capsys.readouterr().out
    assert list(found["rollouts"]) == ["16", "32"] and list(found["group size"]) == ["16", "64"]
    assert (
        found["context"]["rows"]["4096"]["bytes"]
        == found["context"]["rows"]["16"]["bytes"] + 2 * 4080 * 1024
    )
    assert (tmp_path / "s.png").exists() or "matplotlib is not installed" in out


def test_the_claim_is_what_the_numbers_allow():
    assert curves.claim([100, 100, 120]) == "Tokens per second never fall as rollouts grow"
    assert curves.claim([100, 90, 120]) == "Tokens per second fall by 10.0% from size to size"


def test_scaling_says_so_without_matplotlib(monkeypatch, capsys):
    monkeypatch.setattr(curves.importlib.util, "find_spec", lambda _: None)
    curves.draw("nowhere/x.png", 1, {}, {}, {})
    assert "matplotlib is not installed" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "python bench.py cpu"),
        (["gpu"], "gpu: say which"),
        (["cuda", "--shape", "qwen9"], "--shape qwen9"),
        (["cuda", "--rows", "prefil"], "--rows prefil: choose from prefill"),
        (["cuda", "--slots", "1,x"], "--slots 1,x"),
        (["cuda", "--rollouts", "10"], "--rollouts 10: must be multiples of --group 8"),
        (["memory", "--slots", "0"], "must be at least 1"),
        (["cpu", "--cuts", "7"], "--cuts 7: each must divide 256"),
        (["cpu", "--json", "no/where.json"], "no such folder"),
        (["cpu", "--model", "/no/where"], "/no/where is not a model folder"),
        (["cpu", "--dtype", "fp8"], "--dtype"),
        (["cpu", "--template", "r1"], "--template r1: a string ends its responses"),
        (["cpu", "--template", "chat", "--rows", "sampler"], "no chat template"),
        (["scaling", "--groups", "4,5"], "--groups divisors of 256"),
        (["scaling", "--rollouts", "64"], "two sizes"),
    ],
)
def test_what_the_user_can_mend_is_refused_in_one_line(monkeypatch, arguments, message):
    with pytest.raises(UserError) as refused:
        program(monkeypatch, *arguments)
    assert message in str(refused.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_refused(monkeypatch, tmp_path):
    with pytest.raises(UserError, match="sees no CUDA GPU"):
        program(monkeypatch, "cuda", "--json", tmp_path / "x.json")


@pytest.mark.gpu
def test_cuda_rows_run_on_a_gpu(monkeypatch, tmp_path):
    program(monkeypatch, "cuda", *TINY_ROWS, "--device", "cuda", "--json", tmp_path / "rows.json")
    assert len(json.loads((tmp_path / "rows.json").read_text())) > 8


def test_a_model_with_a_longer_context_has_the_same_weights(tokenizer):
    model = make_tiny(tokenizer)
    long = bench_scaling.longer(model, 8192)
    assert (
        long.config.max_position_embeddings == 8192
        and long.norm.weight.data_ptr() == model.norm.weight.data_ptr()
    )

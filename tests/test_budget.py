"""Budget forcing: forced where it is asked for, plain sampling to the bit where it is not."""

import ast
import functools
import json
from pathlib import Path

import pytest
import torch
from test_eval import command, graded, refusal

import eval as program
import sample
import train
from config import UserError
from eval import EvalConfig, settled
from evaluation import budget, responses, scaling, votes
from evaluation.budget import Budget, Draft, Forcing
from sample import Sampling

ROOT = Path(__file__).parent.parent
PROMPTS = [[5, 6], [7], [9, 45, 8]]
# A random model often says 7, and often as the second half of another number's token.
LONGEST = Sampling(40)
OFTEN = Budget(waits=2, wait_text="ab", end="7", final_text="so", answer_tokens=9)


def forcing(model, tokenizer, settings: Budget):
    text_of = functools.partial(sample.text_of, model, tokenizer)
    return Forcing(settings, model, tokenizer, sample.generate, sample.random_numbers, text_of)


def drawn(model, tokenizer, settings: Budget, sampling=LONGEST, **how):
    draw = forcing(model, tokenizer, settings)
    return draw(model, tokenizer, PROMPTS, sampling, n=4, seed=3, **how)


@pytest.fixture
def stopping(tiny):
    """A random model that stops now and then."""
    tiny.stop_ids = tuple(range(8))
    return tiny


def put(rollout) -> list[list[int]]:
    """The ids that were put into a response."""
    return [rollout.response[begin:end] for begin, end in rollout.forced]


# ---------------------------------------------------------------- forcing


def test_without_a_wait_or_a_cap_it_is_plain_sampling_to_the_bit(stopping, tokenizer):
    plain = sample.generate(stopping, tokenizer, PROMPTS, LONGEST, n=4, seed=3)
    assert drawn(stopping, tokenizer, Budget(end="7")) == plain
    assert all(rollout.logprobs for rollout in plain)
    assert drawn(stopping, tokenizer, Budget(waits=1, end="7")) != plain
    assert drawn(stopping, tokenizer, Budget(cap=20, end="7", answer_tokens=9)) != plain


def test_the_wait_text_stands_where_the_thinking_would_have_ended(stopping, tokenizer):
    plain = sample.generate(stopping, tokenizer, PROMPTS, LONGEST, n=4, seed=3)
    found = drawn(stopping, tokenizer, OFTEN)
    waits = [len(rollout.forced) for rollout in found]
    assert max(waits) == 2 and sum(waits) > 6
    for rollout, before in zip(found, plain):
        for ids in put(rollout):
            assert tokenizer.decode(ids).endswith("ab")
        if rollout.forced:
            begin, _ = rollout.forced[0]
            assert rollout.response[:begin] == before.response[:begin]  # the same random numbers
            last = rollout.forced[-1][1]
            thinking = sample.text_of(stopping, tokenizer, rollout.response[:last])
            assert "7" not in thinking and not set(rollout.response[:last]) & set(range(8))
            assert not rollout.logprobs
        assert len(rollout.response) <= 40


def test_of_a_token_that_holds_the_end_the_rest_stays(stopping, tokenizer):
    """17 is one token, and the end is 7: the 1 is part of the thinking."""
    draw = forcing(stopping, tokenizer, OFTEN)
    for text, rest in (("3 17", "1"), ("3 7", ""), ("3 77", ""), ("37", "3")):
        ids = tokenizer.encode("7 " + text, add_special_tokens=False)
        first = len(tokenizer.encode("7 ", add_special_tokens=False))
        last_round = sample.Rollout([1], ids[first:])
        kept, found = draw.before_mark(Draft([1], None, ids, rounds=[last_round]))
        assert found == rest and tokenizer.decode(kept) + rest == "7 " + text.partition("7")[0]
    texts = set()
    for rollout in drawn(stopping, tokenizer, OFTEN):
        texts.update(map(tokenizer.decode, put(rollout)))
    assert "ab" in texts and len(texts) > 1


@pytest.mark.parametrize("settings", [OFTEN, Budget(2, "ab", "", "7", 20, "so", 9)])
def test_neither_slots_nor_the_order_of_rows_matter(stopping, tokenizer, settings):
    expected = drawn(stopping, tokenizer, settings)
    found = drawn(stopping, tokenizer, settings, slots=3)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.response, ours.forced) == (theirs.response, theirs.forced)
        assert ours.finished == theirs.finished
    draw = forcing(stopping, tokenizer, settings)
    greedy = Sampling(40, temperature=0.0)
    forth = draw(stopping, tokenizer, PROMPTS, greedy)
    back = draw(stopping, tokenizer, PROMPTS[::-1], greedy)
    assert [r.response for r in forth] == [r.response for r in back[::-1]]
    assert [r.forced for r in forth] != [r.forced for r in expected[::4]]


def test_a_model_without_the_mark_ends_its_thinking_by_its_stop_token(stopping, tokenizer):
    plain = sample.generate(stopping, tokenizer, PROMPTS, LONGEST, n=4, seed=3)
    settings = Budget(waits=1, wait_text="ab", end="no such end")
    found = drawn(stopping, tokenizer, settings)
    for rollout, before in zip(found, plain):
        stopped = before.finished and len(before.response) + 2 < 40
        assert bool(rollout.forced) == stopped
        if stopped:
            (begin, end) = rollout.forced[0]
            assert rollout.response[:begin] == before.response[:-1]
            assert tokenizer.decode(rollout.response[begin:end]) == "ab"
    assert any(rollout.finished and rollout.forced for rollout in found)


def test_a_response_that_ends_in_another_stop_string_is_left_alone(stopping, tokenizer):
    sampling = Sampling(40, stop_strings=("7",))
    plain = sample.generate(stopping, tokenizer, PROMPTS, sampling, n=4, seed=3)
    found = drawn(stopping, tokenizer, Budget(waits=1, end="no such end"), sampling)
    ended = [i for i, before in enumerate(plain) if before.response[-1] not in stopping.stop_ids]
    assert ended and all(found[i].response == plain[i].response for i in ended)


def test_the_thinking_may_end_where_its_last_line_says_so(stopping, tokenizer):
    always = drawn(stopping, tokenizer, Budget(waits=1, wait_text="ab", end="7"))
    unless = Budget(waits=1, wait_text="ab", wait_unless="e", end="7")
    found = drawn(stopping, tokenizer, unless)
    spared = 0
    for rollout, forced in zip(found, always):
        if not forced.forced:
            continue
        begin, _ = forced.forced[0]
        rest = tokenizer.decode(forced.response[begin : forced.forced[0][1]]).removesuffix("ab")
        thinking = sample.text_of(stopping, tokenizer, forced.response[:begin]) + rest
        may_end = "e" in thinking.rstrip().split("\n")[-1]
        assert may_end != bool(rollout.forced)
        spared += may_end
    assert 0 < spared < len(found)


def test_the_cap_closes_the_thinking_and_forces_an_answer(stopping, tokenizer):
    stopping.stop_ids = (0,)
    settings = Budget(cap=20, end="7", final_text="</think> <answer>", answer_tokens=9)
    final = tokenizer.encode("</think> <answer>", add_special_tokens=False)
    plain = sample.generate(stopping, tokenizer, PROMPTS, LONGEST, n=4, seed=3)
    found = drawn(stopping, tokenizer, settings)
    capped = [rollout for rollout in found if rollout.forced]
    assert 0 < len(capped) < len(found)
    for rollout, before in zip(found, plain):
        if rollout.forced:
            assert rollout.forced == [(20, 20 + len(final))]
            assert put(rollout) == [final]
            assert 20 + len(final) < len(rollout.response) <= 29
        else:
            closed = "7" in sample.text_of(stopping, tokenizer, rollout.response[:20])
            assert closed or rollout.response[-1] == 0
            assert rollout.response == before.response  # though it took two rounds
            assert len(rollout.response) <= 40
    assert any(len(rollout.response) > 29 for rollout in found)  # who closed in time has room


def test_waits_stay_below_the_cap(stopping, tokenizer):
    found = drawn(stopping, tokenizer, Budget(50, "ab", "", "7", 20, "so", 9))
    for rollout in found:
        assert all(end < 20 or begin == 20 for begin, end in rollout.forced)
        assert len(rollout.response) <= 29 or not any(begin == 20 for begin, _ in rollout.forced)


def test_what_was_forced_is_kept_saved_and_read_again(stopping, tokenizer, tmp_path):
    rollout = next(r for r in drawn(stopping, tokenizer, OFTEN) if len(r.forced) == 2)
    kept = responses.keep(rollout, functools.partial(sample.text_of, stopping, tokenizer))
    assert list(kept.forced) == rollout.forced
    group = graded([("a", 1, 4, True)])[0]
    group.responses = [kept]
    responses.save(tmp_path / "s.jsonl", {}, {"one": [group]})
    _, found = responses.read(str(tmp_path / "s.jsonl"))
    assert found["one"][0][1] == [kept]
    text = (tmp_path / "s.jsonl").read_text()
    for wrong in ("7", "[[3]]", "[[5, 3]]", '[["a", 3]]', "[[3, 5], [4, 6]]", "[[3, 999]]"):
        spans = json.dumps([list(span) for span in kept.forced])
        (tmp_path / "s.jsonl").write_text(text.replace(f'"forced": {spans}', f'"forced": {wrong}'))
        with pytest.raises(UserError, match="line 2: damaged.*forced"):
            responses.read(str(tmp_path / "s.jsonl"))
    old = text.replace(f', "forced": {json.dumps([list(span) for span in kept.forced])}', "")
    assert old != text
    (tmp_path / "s.jsonl").write_text(old)
    assert responses.read(str(tmp_path / "s.jsonl"))[1]["one"][0][1][0].forced == ()


# ---------------------------------------------------------------- figures


def test_forced_texts_and_the_share_within_the_budget_by_hand():
    groups = graded([("a", 1, 10, True), ("b", 0, 30, True)], [("a", 1, 20, True)] * 2)
    for response in groups[0].responses:
        object.__setattr__(response, "forced", ((2, 3), (5, 9)))
    found = budget.figures(groups, 20)
    assert (found["forced"], found["forced_tokens"], found["within_budget"]) == (1, 2.5, 0.75)
    assert budget.figures(groups, 0)["within_budget"] is None


def test_votes_of_each_size_by_hand():
    rows = [("a", 1, 4, True), ("b", 0, 6, True), ("b", 0, 6, True), ("a", 1, 8, True)]
    found = votes(graded(rows, [("c", 1, 5, True)] * 4))
    assert [found[f"maj@{size}"] for size in (1, 2, 4)] == [0.75, 0.75, 0.75]
    assert [found[f"tokens@{size}"] for size in (1, 2, 4)] == [5.5, 11, 22]
    rows = [("a", 1, 4, True), ("a", 1, 4, True), ("b", 0, 4, True)]  # the third is left over
    found = votes(graded(rows))
    assert (found["maj@2"], found["maj@3"]) == (1, 1)


def write_figures(path, accuracy, tokens, within=None):
    path.write_text(json.dumps({"pass@1": accuracy, "length": tokens, "within_budget": within}))
    return str(path)


def test_the_figures_of_s1_by_hand(tmp_path, capsys):
    assert scaling.scaling([(10, 0.2), (20, 0.4), (40, 0.5)]) == pytest.approx(
        (0.02 + 0.005 + 0.01) / 3
    )
    assert scaling.scaling([(10, 0.2), (10, 0.4)]) is None
    files = [
        write_figures(tmp_path / "a", 0.2, 10, 1.0),
        write_figures(tmp_path / "b", 0.5, 40, 0.5),
        write_figures(tmp_path / "c", 0.4, 20),
    ]
    scaling.main(files)
    shown = capsys.readouterr().out
    assert "control 0.750" in shown and "scaling 11.667" in shown and "performance 0.500" in shown
    with pytest.raises(UserError, match="two files"):
        scaling.main(files[:1])
    (tmp_path / "d").write_text("{}")
    with pytest.raises(UserError, match="not written by eval.py"):
        scaling.main([files[0], str(tmp_path / "d")])


# ---------------------------------------------------------------- python eval.py


def test_the_command_forces_saves_and_grades_again(tiny_folder, tmp_path, monkeypatch, capsys):
    flags = ["--model", tiny_folder, "--n", 3, "--k", 2, "--device", "cpu", "--max-new-tokens", 40]
    a, b, c, d = (tmp_path / name for name in "abcd")
    plain = command(monkeypatch, capsys, *flags, "--json", a)
    assert command(monkeypatch, capsys, *flags, "--force-wait", 0, "--json", b) == plain
    without = {**json.loads(a.read_text()), "config": 0}
    assert without == {**json.loads(b.read_text()), "config": 0}
    force = ["--force-wait", 2, "--wait-text", "ab", "--end-of-thinking", "7", "--think-cap", 20]
    force += ["--answer-tokens", 9, "--html", tmp_path / "page.html"]
    first = command(monkeypatch, capsys, *flags, *force, "--save", c, "--json", a)
    assert first != plain and "budget forcing" in first
    found = json.loads(a.read_text())
    assert found["config"]["force_wait"] == 2 and found["config"]["end_of_thinking"] == "7"
    assert found["forced"] > 0 and found["within_budget"] <= 1
    again = command(monkeypatch, capsys, "--regrade", c, "--json", d)
    assert again == first and {**json.loads(d.read_text()), "config": 0} == {**found, "config": 0}


@pytest.mark.parametrize(
    "flags,says",
    [
        (("--force-wait", "-1"), "at least 0"),
        (("--wait-text", "x"), "--force-wait"),
        (("--wait-unless", "x"), "--force-wait"),
        (("--final-text", "x"), "--think-cap"),
        (("--answer-tokens", "5"), "--think-cap"),
        (("--end-of-thinking", "x"), "--think-cap"),
        (("--think-cap", "200"), "lower one"),
        (("--think-cap", "20", "--answer-tokens", "2"), "no room for an answer"),
        (("--switch-penalty", "nan"), "--switch-penalty"),
        (("--switch-penalty", "1", "--switch-window", "0"), "--switch-window"),
        (("--switch-words", "x"), "--switch-penalty"),
        (("--switch-penalty", "1", "--switch-words", " x"), "blanks"),
        (("--switch-penalty", "1", "--force-wait", "1"), "choose one"),
    ],
)
def test_methods_that_contradict_each_other_are_refused(flags, says, monkeypatch, capsys):
    assert says in refusal(monkeypatch, capsys, "--model", "base", "--device", "cpu", *flags)
    regrade = refusal(monkeypatch, capsys, "--regrade", "f", "--force-wait", "1")
    assert "leave out --force-wait" in regrade


def test_the_protocol_of_s1_keeps_to_a_length_given_by_hand():
    given = {"protocol", "max_new_tokens"}
    c = settled(EvalConfig(protocol="s1", max_new_tokens=256), given)
    assert (c.max_new_tokens, c.think_cap, c.answer_tokens) == (256, 156, 100)
    c = settled(EvalConfig(protocol="s1", max_new_tokens=101), given)
    assert c.think_cap == 1
    with pytest.raises(
        UserError, match="--answer-tokens"
    ):  # the cap may not become 0, which is off
        settled(EvalConfig(protocol="s1", max_new_tokens=100), given)


def test_the_protocol_of_s1_keeps_room_for_an_answer(capsys):
    c = settled(EvalConfig(protocol="s1"), {"protocol"})
    assert (c.temperature, c.max_new_tokens, c.think_cap) == (0.0, 32768, 32668)
    c = program.fitted(c, {"protocol"}, 2048, [[0] * 100])
    assert (c.max_new_tokens, c.think_cap) == (1948, 1848)


@pytest.mark.parametrize(
    "template,begins",
    [("short", "</think>"), ("r1", "</think>"), ("qwen-boxed", "\n\nFinal"), ("chat", "\n\nFinal")],
)
def test_a_forced_answer_begins_in_the_templates_form(template, begins):
    assert budget.final_text_of(template).startswith(begins)


# ---------------------------------------------------------------- the hook is for evaluations


def test_no_training_can_draw_with_a_bias():
    for name in ("train.py", "grpo.py", "ppo.py", "estimators.py"):
        tree = ast.parse((ROOT / name).read_text())
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        draws = [call for call in calls if ast.unparse(call.func).endswith("generate")]
        given = {word.arg for call in draws for word in call.keywords}
        assert not given & {"bias", None}  # nor by **settings
        assert name != "train.py" or draws
    fields = set(train.TrainConfig.__dataclass_fields__)
    assert not [name for name in fields if name.startswith(("switch_", "force_", "think_cap"))]


def test_what_a_bias_drew_has_no_log_probs(stopping, tokenizer):
    seen = []

    def bias(owners, ids, counts):
        seen.append((list(owners), ids, counts.tolist()))
        return torch.zeros(len(owners), stopping.config.vocab_size)

    plain = sample.generate(stopping, tokenizer, PROMPTS, Sampling(30), n=4, seed=3)
    found = sample.generate(stopping, tokenizer, PROMPTS, Sampling(30), n=4, seed=3, bias=bias)
    assert [r.response for r in found] == [r.response for r in plain]
    assert not any(rollout.logprobs for rollout in found)
    owners, _, counts = seen[0]
    assert owners == list(range(12)) and counts == [0] * 12

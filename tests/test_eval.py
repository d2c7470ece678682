"""Figures are what their names say, and their intervals hold what they promise."""

import functools
import itertools
import json
import math
import random
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import eval as program
import model as lm
import sample
import tasks
from config import UserError, run_program
from eval import EvalConfig, settled
from evaluation import Graded, Response, behaviours, figures, responses, summary, tables, votes
from evaluation.statistics import majority, mean_interval, pass_at_k, share_interval
from evaluation.summary import one_spelling
from reward import Reward


def test_pass_at_k_is_the_share_of_subsets_that_hold_a_right_one():
    for n in range(1, 7):
        for right, k in itertools.product(range(n + 1), range(1, n + 1)):
            subsets = list(itertools.combinations([True] * right + [False] * (n - right), k))
            assert math.isclose(pass_at_k(n, right, k), sum(map(any, subsets)) / len(subsets))


@pytest.mark.parametrize("k", [0, 5])
def test_pass_at_k_needs_k_responses(k):
    with pytest.raises(ValueError, match="needs at least"):
        pass_at_k(4, 2, k)


@pytest.mark.parametrize(
    "answers,right,value",
    [
        ("a", [1], 1),
        ("aab", [1, 1, 0], 1),
        ("abb", [1, 0, 0], 0),
        ("ab", [1, 0], 1 / 2),
        ("abc", [0, 1, 0], 1 / 3),
        ("aabbc", [1, 1, 0, 0, 1], 1 / 2),
        (["a", None, None], [1, 0, 0], 1),
        ([None, "a", "b", "b"], [0, 1, 0, 0], 0),
        ([None, None], [0, 0], 0),
    ],
)
def test_the_majority_is_the_commonest_answer_and_a_tie_counts_by_chance(answers, right, value):
    assert math.isclose(majority(list(answers), [bool(r) for r in right]), value)


# ---------------------------------------------------------------- intervals


def wilson(right, n, z=1.96):
    """Wilson's score interval as in the textbook: the shares p for which |right/n - p| = z * sqrt(p(1-p)/n)."""
    a, b, c = n + z * z, -(2 * right + z * z), right * right / n
    root = math.sqrt(max(0.0, b * b - 4 * a * c))
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


@pytest.mark.parametrize("right,n", [(1, 2), (3, 8), (13, 20), (1, 50), (256, 512)])
def test_of_single_responses_the_interval_is_wilsons(right, n):
    values = [1.0] * right + [0.0] * (n - right)
    assert share_interval(values) == pytest.approx((right / n, *wilson(right, n)), abs=1e-9)


@pytest.mark.parametrize("n", [1, 2, 10, 512])
def test_all_right_and_all_wrong_leave_room_on_one_side_only(n):
    assert share_interval([0.0] * n) == pytest.approx((0, 0, wilson(0, n)[1]))
    assert share_interval([1.0] * n) == pytest.approx((1, wilson(n, n)[0], 1))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_an_interval_lies_in_0_to_1_and_holds_its_mean(values):
    mean, low, high = share_interval(values)
    assert 0 <= low <= mean <= high <= 1 and mean == pytest.approx(sum(values) / len(values))


def test_many_responses_a_problem_narrow_it_as_far_as_the_problems_are_alike():
    def width(values):
        _, low, high = share_interval(values)
        return high - low

    assert width([0.4, 0.6] * 20) < width([0.25, 0.75] * 20) < width([0.0, 1.0] * 20)
    assert width([0.0, 1.0] * 20) == pytest.approx(
        2 * width([0.0, 1.0] * 80), rel=0.1
    )  # four times the problems: half


@pytest.mark.parametrize("value", [0.1, 0.25, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("n", [3, 10])
def test_problems_that_agree_by_chance_do_not_make_an_interval_of_no_width(value, n):
    _, low, high = share_interval([value] * n)
    assert high - low > 0.2


@pytest.mark.parametrize("a,b,k", [(1, 1, 4), (0.5, 2, 8), (3, 3, 2), (0.6, 1.4, 1)])
def test_about_95_of_100_intervals_of_a_share_hold_the_truth(a, b, k):
    """Problems differ in difficulty (Beta(a, b)); each evaluation draws 60 of them and k responses to each."""
    torch.manual_seed(0)
    chances = torch.distributions.Beta(a, b).sample((1500, 60))
    values = torch.distributions.Binomial(k, chances).sample() / k
    held = sum(low <= a / (a + b) <= high for _, low, high in map(share_interval, values.tolist()))
    assert abs(held / 1500 - 0.95) < 0.03


def test_the_interval_of_a_length_is_the_bootstraps_over_problems():
    rng = random.Random(0)
    centres = [rng.gauss(100, 30) for _ in range(150)]
    groups = [[rng.gauss(centre, 10) for _ in range(rng.randint(0, 8))] for centre in centres]
    mean, low, high = mean_interval(groups)
    sums, sizes = (torch.tensor([float(f(g)) for g in groups]) for f in (sum, len))
    drawn = torch.randint(150, (4000, 150), generator=torch.Generator().manual_seed(0))
    bootstrap = (
        (sums[drawn].sum(1) / sizes[drawn].sum(1)).quantile(torch.tensor([0.025, 0.975])).tolist()
    )
    values = [v for g in groups for v in g]
    assert mean == pytest.approx(sum(values) / len(values))
    assert [low, high] == pytest.approx(bootstrap, abs=0.1 * (high - low))
    of_values = 2 * 1.96 * torch.tensor(values).std().item() / math.sqrt(len(values))
    assert of_values < 0.7 * (
        high - low
    )  # as if responses to one problem were independent: too narrow


def test_a_length_that_no_response_has_is_none():
    assert mean_interval([]) == mean_interval([[], []]) == (None, None, None)


# ---------------------------------------------------------------- all figures


def graded(*rows):
    """Graded problems from rows of (answer, right?, length, finished?)."""
    return [
        Graded(
            tasks.Problem("data", "", "", ""),
            [Response("x", n, bool(done)) for _, _, n, done in row],
            [Reward(0.0, float(ok), 0.0, "") for _, ok, _, _ in row],
            [answer for answer, *_ in row],
        )
        for row in rows
    ]


TWO = (
    [("a", 1, 4, True), ("a", 1, 6, True), ("b", 0, 9, True), (None, 0, 20, False)],
    [("c", 0, 5, True), ("d", 0, 5, True), (None, 0, 20, False), (None, 0, 20, False)],
)


def test_figures_of_two_problems_by_hand():
    found = figures(graded(*TWO))
    by_hand = {
        "pass@1": 1 / 4,
        "pass@2": (1 - 1 / 6) / 2,
        "pass@4": 1 / 2,
        "maj@4": 1 / 2,
        "truncated": 3 / 8,
        "length": 89 / 8,
        "length_right": 5,
        "length_wrong": 79 / 6,
    }
    assert found.keys() == {"problems", "k", "too_long"} | by_hand.keys() | {
        name + "_ci" for name in by_hand
    }
    assert (found["problems"], found["k"], found["too_long"]) == (2, 4, 0)
    for name, value in by_hand.items():
        low, high = found[name + "_ci"]
        assert found[name] == pytest.approx(value)
        if (
            name == "length_right"
        ):  # from one problem alone: nothing is known of how problems differ
            assert low is high is None
        else:
            assert low <= found[name] <= high


def test_of_three_responses_there_is_a_pass_at_3():
    found = figures(graded([("a", 1, 4, True), ("b", 0, 4, True), ("b", 0, 4, True)]))
    assert found["pass@2"] == pytest.approx(2 / 3) and found["pass@3"] == 1 and found["maj@3"] == 0


def test_one_response_a_problem_has_no_majority_and_no_right_answer_has_no_length():
    found = figures(graded([("a", 0, 4, True)], [(None, 0, 8, False)]))
    assert {name for name in found if not name.endswith("_ci")} == {
        "problems",
        "k",
        "too_long",
        "pass@1",
        "truncated",
        "length",
        "length_right",
        "length_wrong",
    }
    assert (
        found["pass@1"] == 0
        and found["length_right"] is None
        and found["length_right_ci"] == [None, None]
    )


def test_what_was_not_drawn_is_wrong_and_in_no_length_or_truncated_share():
    drawn, not_drawn = [("a", 1, 10, True), ("b", 0, 20, True)], [(None, 0, 0, False)] * 2
    found = figures(graded(drawn, not_drawn))
    assert (found["too_long"], found["pass@1"], found["pass@2"]) == (1, 1 / 4, 1 / 2)
    assert (found["length"], found["length_wrong"], found["truncated"]) == (15, 20, 0)
    nothing = figures(graded(not_drawn)) | behaviours(graded(not_drawn))
    assert nothing["pass@1"] == 0
    assert (
        nothing["length"]
        is nothing["truncated"]
        is nothing["efficiency"]
        is nothing["switches_share"]
        is None
    )
    assert "1 of 1 prompts do not fit" in tables.table({"none": nothing})


def test_spellings_of_one_value_vote_together_in_maths_only():
    maths, text = (tasks.Problem(task, "", "0.5", "") for task in ("math", "data"))
    answers = ["0.5", "3", "3", "\\frac{1}{2}", "\\frac{1}{2}", None, "7"]
    assert one_spelling(answers, maths) == [
        "\\frac{1}{2}",
        "3",
        "3",
        "\\frac{1}{2}",
        "\\frac{1}{2}",
        None,
        "7",
    ]
    assert one_spelling(answers, text) == answers
    right = [a in ("0.5", "\\frac{1}{2}") for a in answers]
    assert majority(answers, right) == 1 / 2  # as text, a tie with 3
    assert (
        figures(
            [
                Graded(
                    maths,
                    [Response("x", 1, True)] * 7,
                    [Reward(0, float(r), 0, "") for r in right],
                    answers,
                )
            ]
        )["maj@7"]
        == 1
    )


def test_spellings_are_compared_exactly_whatever_the_tolerance():
    near = tasks.Problem("math", "", "100", "", {"tolerance": 5.0})
    assert one_spelling(["100", "101"], near) == ["100", "101"]


def test_a_vote_compares_a_bounded_number_of_spellings(monkeypatch):
    calls = []
    monkeypatch.setattr(summary.tasks, "check", lambda *a: calls.append(a) or (False, True, ""))
    answers = [str(i) for i in range(200)]
    assert one_spelling(answers, tasks.Problem("math", "", "", "")) == answers
    assert len(calls) <= 200 * summary.MOST_VALUES


# ---------------------------------------------------------------- tables


def test_the_table_has_a_row_for_each_benchmark_and_their_mean():
    first, second = figures(graded(*TWO)), figures(graded(TWO[1]))
    text = tables.table({"one": first, "two": second})
    rows = {line.split()[0]: line for line in text.splitlines()[2:5]}
    assert rows.keys() == {"one", "two", "mean"}
    low, high = first["pass@1_ci"]
    assert f"0.250 [{low:.3f}, {high:.3f}]" in rows["one"] and "0.375" in rows["one"]
    assert (
        rows["mean"].split()[:3] == ["mean", "-", "0.125"] and "[" not in rows["mean"]
    )  # of benchmarks, not problems
    assert "\nmean" not in tables.table({"one": first}) and "\nmean" in text


def test_a_mean_is_none_where_one_benchmark_has_no_figure():
    rows = tables.with_mean({"one": figures(graded(*TWO)), "two": figures(graded(TWO[1]))})
    assert rows["two"]["length_right"] is rows["mean"]["length_right"] is None
    assert rows["mean"]["length"] == pytest.approx((89 / 8 + 50 / 4) / 2)


# ---------------------------------------------------------------- responses kept, saved and graded again


def test_places_in_a_text_are_known_in_tokens_exactly_at_the_marks_and_between_them_by_share():
    r = Response("", 40, True, (10, 110, 118))  # 16 tokens, 16 tokens, 8 tokens
    assert [responses.tokens_until(r, p) for p in (5, 10, 60, 110, 114, 118, 200)] == [
        8,
        16,
        24,
        32,
        36,
        40,
        40,
    ]


def test_the_marks_of_a_response_count_what_its_tokens_are_in_text(tiny, tokenizer):
    ids = tokenizer("10+13=23\n23-10=13 yes</think> <answer>(10+13)-10</answer>")["input_ids"] * 3
    rollout = sample.Rollout([1], ids, [0.0] * len(ids), True)
    kept = responses.keep(rollout, functools.partial(sample.text_of, tiny, tokenizer))
    for i in range(0, len(ids), responses.STRIDE):
        until = len(tokenizer.decode(ids[:i], skip_special_tokens=True))
        if until:
            assert responses.tokens_until(kept, until) == pytest.approx(i)
    assert kept.marks[-1] == len(kept.text) and kept.tokens == len(ids)


def command(monkeypatch, capsys, *flags):
    monkeypatch.setattr("sys.argv", ["eval.py", *map(str, flags)])
    program.main()
    return capsys.readouterr().out


def refusal(monkeypatch, capsys, *flags):
    monkeypatch.setattr("sys.argv", ["eval.py", *map(str, flags)])
    with pytest.raises(SystemExit) as stop:
        run_program(program.main)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1
    return error


@pytest.fixture
def saved(tmp_path):
    """Three Countdown responses to each of two problems; of the second nothing could be drawn."""
    problems = [
        tasks.Problem("countdown", f"q{i}", "", f"key {i}", {"numbers": (3, 5, 12), "target": 24})
        for i in (1, 2)
    ]
    wrong, lost = (
        "x</think> <answer>3*12-12</answer>",
        "12+5=17\n17+3=20 no\n5-3=2\n2+12=14 no</think> <answer>7</answer>",
    )
    right, first = (
        "5+3=8\n8+12=20 no\n12*(5-3)=24 yes</think> <answer>12*(5-3)</answer>",
        25,
    )  # where it first stands
    drawn = [
        Response(wrong, 9, True, (len(wrong),)),
        Response(lost, 20, True, (60, len(lost))),
        Response(right, 30, True, (first, len(right))),
    ]
    graded = [
        responses.grade(problems[0], drawn, "dr_grpo"),
        responses.grade(problems[1], [Response("", 0, False)] * 3, "dr_grpo"),
    ]
    responses.save(tmp_path / "s.jsonl", {"model": "base", "k": 3}, {"countdown": graded})
    return tmp_path / "s.jsonl"


def test_the_figures_of_a_known_file(saved, tmp_path, monkeypatch, capsys):
    shown = command(monkeypatch, capsys, "--regrade", saved, "--json", tmp_path / "f.json")
    found = json.loads((tmp_path / "f.json").read_text())
    assert found["config"]["k"] == 3 and found["problems"] == 2 and found["too_long"] == 1
    by_hand = {
        "pass@1": 1 / 6,
        "pass@3": 1 / 2,
        "maj@3": (1 / 3) / 2,
        "truncated": 0,
        "length": 59 / 3,
        "length_right": 30,
        "length_wrong": 29 / 2,
        "verification": 4 / 3,
        "backtracking": 2 / 3,
        "verification_share": 2 / 3,
        "efficiency": 16 / 30 / 3,
        "efficiency_right": 16 / 30,
    }
    for name, value in by_hand.items():
        assert found[name] == pytest.approx(value), name
    assert "0.167 [" in shown and "1 of 2 prompts do not fit" in shown


def test_regrading_follows_the_reward_rules_of_today_not_the_saved_verdicts(
    saved, tmp_path, monkeypatch, capsys
):
    lines = [json.loads(line) for line in saved.read_text().splitlines()]
    for line in lines[1:]:
        line["reward"]["accuracy"], line["answer"] = 1.0, "99"
    saved.write_text("".join(json.dumps(line) + "\n" for line in lines))
    command(monkeypatch, capsys, "--regrade", saved, "--json", tmp_path / "f.json")
    assert json.loads((tmp_path / "f.json").read_text())["pass@1"] == pytest.approx(1 / 6)
    shown = command(
        monkeypatch, capsys, "--regrade", saved, "--answer-style", "boxed"
    )  # nobody wrote a box
    assert "0.000 [" in shown and "0.167" not in shown


def test_saved_responses_graded_again_give_identical_tables_and_figures(
    tiny_folder, tmp_path, monkeypatch, capsys
):
    flags = [
        "--model",
        tiny_folder,
        "--task",
        "kk",
        "--n",
        6,
        "--k",
        3,
        "--device",
        "cpu",
        "--max-new-tokens",
        40,
    ]
    first = command(
        monkeypatch, capsys, *flags, "--save", tmp_path / "s.jsonl", "--json", tmp_path / "a.json"
    )
    monkeypatch.setattr(lm, "load", lambda *a: pytest.fail("regrading loads no model"))
    again = command(
        monkeypatch,
        capsys,
        "--regrade",
        tmp_path / "s.jsonl",
        "--save",
        tmp_path / "t.jsonl",
        "--json",
        tmp_path / "b.json",
    )
    a, b = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    assert first == again and {**a, "config": 0} == {**b, "config": 0} and len(a) > 40
    s, t = ((tmp_path / name).read_text().splitlines() for name in ("s.jsonl", "t.jsonl"))
    assert s[1:] == t[1:] and len(s) == 19


@pytest.mark.parametrize(
    "harm,says",
    [
        (lambda rows: rows[:3] + ["{"] + rows[4:], "line 4: damaged"),
        (lambda rows: rows[:-1], "5 responses, not the 6"),
        (lambda rows: rows[:1] + rows[4:], "line 2: damaged"),
        (lambda rows: ["[]"] + rows[1:], "line 1: damaged"),
        (lambda rows: [], "is empty"),
        (lambda rows: [rows[0].replace(": 6}", ": 0}")], "no response in it"),
        (lambda rows: ["[]"], "no JSON object"),
        (lambda rows: [rows[0].replace(": 6}", ": true}")] + rows[1:], "responses is True"),
        (lambda rows: rows[:1] + ["7"] + rows[2:], "line 2: damaged.*no JSON object"),
        (lambda rows: rows[:2] + [rows[2].replace('"tokens"', '"t"')] + rows[3:], "line 3"),
        (lambda rows: [rows[0].replace('"k": 3', '"kk": 3')] + rows[1:], "unknown key 'kk'"),
        (lambda rows: [rows[0].replace("6}", "5}")] + rows[1:6], "different numbers"),
    ],
)
def test_a_damaged_file_is_refused_by_line(harm, says, saved, monkeypatch, capsys):
    saved.write_text("".join(row + "\n" for row in harm(saved.read_text().splitlines())))
    assert re.search(says, refusal(monkeypatch, capsys, "--regrade", saved))


@pytest.mark.parametrize(
    "field,value,says",
    [
        ("task", "chess", "no checker for task 'chess': have countdown, kk"),
        ("facts", {}, "facts without numbers"),
        ("facts", {"numbers": "3 5 12", "target": 24}, "facts without numbers"),
        ("facts", {"numbers": [3, 5.0, 12], "target": 24}, "facts without numbers"),
        ("facts", {"numbers": [3, 5, 12], "target": True}, "facts without numbers"),
        ("facts", {"numbers": [3, 5, 12], "target": 24, "tolerance": "x"}, "a tolerance"),
        ("facts", {"numbers": [3, 5, 12], "target": 24, "tolerance": math.nan}, "a tolerance"),
        ("facts", {"numbers": [3, 5, 12], "target": 24, "tolerance": -1}, "a tolerance"),
        ("facts", [], r"facts is \[\], not dict"),
        ("gold", None, "gold is None, not str"),
        ("text", None, "text is None, not str"),
        ("text", "\ud800", "surrogates"),
        ("tokens", "9", "tokens is '9', not int"),
        ("tokens", -1, "tokens below 0"),
        ("finished", "no", "finished is 'no', not bool"),
        ("marks", [5, 2], "marks"),
        ("marks", "52", "marks is '52', not list"),
        ("index", False, "index is False, not int"),
        ("key", "another", "another problem under the index 0"),
    ],
)
def test_a_damaged_field_is_refused_by_line(field, value, says, saved, monkeypatch, capsys):
    rows = [json.loads(line) for line in saved.read_text().splitlines()]
    rows[2][field] = value
    saved.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert re.search(f"line 3: damaged.*{says}", refusal(monkeypatch, capsys, "--regrade", saved))


@pytest.mark.parametrize(
    "task,gold,facts,says",
    [
        ("math", "5", {"tolerance": "x"}, "tolerance"),
        ("math", "5", {"tolerance": [0.1]}, "tolerance"),
        ("sums", "five", {}, "the gold 'five' is no number"),
        ("kk", "", {"names": ["Ava", "Leo"], "knights": [True]}, "who is a knight"),
        ("kk", "", {"names": ["Ava"], "knights": [1]}, "who is a knight"),
    ],
)
def test_facts_that_a_checker_cannot_read_are_refused(
    task, gold, facts, says, tmp_path, monkeypatch, capsys
):
    problem = tasks.Problem(task, "q", gold, "key", facts)
    group = Graded(problem, [Response("x", 3, True)], [Reward(0, 0, 0, "")], [None])
    responses.save(tmp_path / "s.jsonl", {"model": "base", "k": 1}, {"one": [group]})
    error = refusal(monkeypatch, capsys, "--regrade", tmp_path / "s.jsonl")
    assert "line 2: damaged" in error and says in error


@pytest.mark.parametrize("text", ["", "\n\n", "[]", " [ ]\n"])
@pytest.mark.parametrize("flags", [[], ["--split", "all"], ["--split", "all", "--task", "math"]])
def test_a_file_without_problems_is_refused(flags, text, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty.jsonl").write_text(text)
    error = refusal(monkeypatch, capsys, "--data", tmp_path / "empty.jsonl", *flags)
    assert "empty.jsonl: no problem in it" in error


# ---------------------------------------------------------------- python eval.py


def test_held_out_problems_are_the_first_of_one_list():
    assert program.held_out("countdown", 30)[:10] == program.held_out("countdown", 10)
    assert all(tasks.split_of(p.key) == "held-out" for p in program.held_out("kk:2", 20))


def test_of_a_file_the_held_out_side_is_taken_or_all_of_it(tmp_path):
    file = str(tmp_path / "d.jsonl")
    with open(file, "w") as rows:
        rows.writelines(json.dumps({"q": f"q{i}", "a": i}) + "\n" for i in range(100))
    side = tasks.read_jsonl(file, "q", "a")["held-out"]
    assert program.held_out("", 0, file, "q", "a") == side and 0 < len(side) < 50
    assert program.held_out("", 3, file, "q", "a") == side[:3]
    whole = program.held_out("math", 0, file, "q", "a", split="all")
    assert [(p.question, p.answer, p.task) for p in whole] == [
        (f"q{i}", str(i), "math") for i in range(100)
    ]


def test_the_command_line_prints_the_figures_and_writes_them(
    tiny_folder, tmp_path, monkeypatch, capsys
):
    def figures_of(seed, file):
        shown = command(
            monkeypatch,
            capsys,
            "--model",
            tiny_folder,
            "--n",
            "4",
            "--k",
            "2",
            "--seed",
            seed,
            "--device",
            "cpu",
            "--max-new-tokens",
            "12",
            "--json",
            tmp_path / file,
        )
        return json.loads((tmp_path / file).read_text()), shown

    found, shown = figures_of("3", "a.json")
    assert found["problems"] == 4 and found["k"] == 2 and found["config"]["seed"] == 3
    assert {
        "pass@1",
        "pass@2",
        "maj@2",
        "truncated",
        "length",
        "switches",
        "efficiency",
    } <= found.keys()
    assert (
        f"{found['truncated']:.3f}" in shown
        and f"{found['length']:.1f}" in shown
        and "pass@2" in shown
    )
    again, _ = figures_of("3", "b.json")
    assert {k: v for k, v in again.items() if k != "config"} == {
        k: v for k, v in found.items() if k != "config"
    }


def test_own_stop_strings_end_responses_and_are_kept_with_them(tmp_path, monkeypatch, capsys):
    file = tmp_path / "r.jsonl"
    flags = ["--n", "4", "--max-new-tokens", "60", "--device", "cpu", "--save", file]
    command(monkeypatch, capsys, *flags, "--stop", "=", "--stop", "</think>")
    settings, found = responses.read(str(file))
    assert settings["stop"] == ["=", "</think>"]
    texts = [response.text for _, group in found["countdown"] for response in group]
    assert len(texts) == 4 and all(text.count("=") == 1 for text in texts)
    assert all(text.endswith("=") for text in texts)
    command(monkeypatch, capsys, "--regrade", file, "--json", tmp_path / "f.json")
    assert json.loads((tmp_path / "f.json").read_text())["config"]["stop"] == ["=", "</think>"]


def test_a_protocol_sets_how_to_sample_and_a_flag_by_hand_beats_it():
    c = settled(EvalConfig(protocol="r1", k=4, n=2), {"protocol", "k", "n"})
    assert (c.temperature, c.top_p, c.max_new_tokens, c.k) == (0.6, 0.95, 32768, 4)
    c = settled(EvalConfig(protocol="dr-grpo", temperature=0.7), {"protocol", "temperature"})
    assert (c.temperature, c.top_p, c.max_new_tokens, c.k) == (0.7, 1.0, 3000, 1)
    c = settled(EvalConfig(protocol="simplerl-zoo"), {"protocol"})
    assert (c.temperature, c.top_p, c.max_new_tokens, c.k) == (1.0, 0.95, 16000, 1)


def test_a_suite_and_a_whole_file_are_taken_whole_unless_n_is_given():
    assert settled(EvalConfig(suite="math"), {"suite"}).n == 0
    assert settled(EvalConfig(suite="math", n=20), {"suite", "n"}).n == 20
    assert settled(EvalConfig(data="f", split="all"), {"data", "split"}).n == 0
    assert settled(EvalConfig(data="f"), {"data"}).n == settled(EvalConfig(), set()).n == 512


@pytest.mark.parametrize(
    "flags,says",
    [
        (("--suite", "math", "--data", "f"), "choose one of"),
        (("--regrade", "f", "--k", "2"), "leave out --k"),
        (("--data-dir", "f"), "name one of these"),
        (("--data-dir", "f", "--data", "g"), "name one of these"),
        (("--data", "gsm8k"), "benchmark"),
        (("--split", "all"), "--data"),
        (("--task", "math"), "--data"),
        (("--levels", "3"), "--data"),
        (("--n", "0"), "at least 1"),
        (("--suite", "maths"), "unknown suite 'maths'"),
        (("--save", "nowhere/f"), "no such folder"),
        (("--regrade", "nowhere"), "nowhere"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(flags, says, monkeypatch, capsys):
    assert says in refusal(monkeypatch, capsys, *flags)


def questions(path, *lengths):
    """A file of maths problems of about so many tokens each; returns its path."""
    path.write_text(
        "".join(
            json.dumps({"problem": f"{i} " + "x " * n, "answer": "1"}) + "\n"
            for i, n in enumerate(lengths)
        )
    )
    return path


def test_a_prompt_too_long_for_the_context_counts_as_wrong_aloud(
    tiny_folder, tmp_path, monkeypatch, capsys
):
    file = questions(tmp_path / "d.jsonl", 10, 3000, 20)
    shown = command(
        monkeypatch,
        capsys,
        "--model",
        tiny_folder,
        "--data",
        file,
        "--task",
        "math",
        "--split",
        "all",
        "--k",
        2,
        "--max-new-tokens",
        8,
        "--device",
        "cpu",
        "--save",
        tmp_path / "s.jsonl",
    )
    assert "d: 1 of 3 prompts do not fit" in shown
    rows = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()[1:]]
    assert [0 < row["tokens"] <= 8 for row in rows] == [True, True, False, False, True, True]
    assert {row["reward"]["why"] for row in rows[2:4]} == {"the prompt does not fit the context"}


def test_no_prompt_that_fits_is_no_crash(tiny_folder, tmp_path, monkeypatch, capsys):
    file = questions(tmp_path / "d.jsonl", 3000)
    shown = command(
        monkeypatch,
        capsys,
        "--model",
        tiny_folder,
        "--data",
        file,
        "--split",
        "all",
        "--device",
        "cpu",
    )
    assert "d: 1 of 1 prompts do not fit" in shown


def test_a_protocols_length_is_lowered_to_the_context_aloud_and_one_given_by_hand_is_not(capsys):
    prompts, by_hand = [[0] * 100, [0] * 500], {"protocol", "max_new_tokens"}
    c = EvalConfig(protocol="dr-grpo", max_new_tokens=3000)
    assert (
        program.fitted(c, {"protocol"}, 4096, prompts).max_new_tokens == 3000
        and not capsys.readouterr().out
    )
    assert program.fitted(c, {"protocol"}, 2048, prompts).max_new_tokens == 1548
    assert "1548 new tokens, not 3000" in capsys.readouterr().out
    assert (
        program.fitted(c, {"protocol"}, 900, prompts).max_new_tokens == 450
    )  # half, if prompts are that long
    assert program.fitted(c, by_hand, 3100, prompts).max_new_tokens == 3000
    with pytest.raises(UserError, match="no room for a prompt"):
        program.fitted(c, by_hand, 2048, prompts)


def test_the_second_table_of_votes_leaves_the_interval_of_all_of_them(tmp_path, monkeypatch):
    problem = tasks.Problem("data", "q", "1", "data q")
    groups = []
    for answers in ("12", "12", "21", "11"):  # three ties
        drawn = [Response(f"</think> <answer>{one}</answer>", 5, True) for one in answers]
        groups.append(responses.grade(problem, drawn, "dr_grpo"))
    responses.save(tmp_path / "r.jsonl", {"k": 2}, {"a": groups})
    out = tmp_path / "r.json"
    monkeypatch.setattr(
        "sys.argv", ["eval", "--regrade", str(tmp_path / "r.jsonl"), "--json", str(out)]
    )
    program.main()
    wanted = figures(groups)
    found = json.loads(out.read_text())
    assert found["maj@2_ci"] == pytest.approx(wanted["maj@2_ci"])
    assert votes(groups)["maj@2_ci"] != pytest.approx(wanted["maj@2_ci"]), "no ties, no test"


def test_spellings_are_compared_once_a_problem_not_once_a_size(monkeypatch):
    problem = tasks.Problem("math", "q", "1", "data q")
    drawn = [Response(f"</think> <answer>{i % 3}</answer>", 5, True) for i in range(8)]
    groups = [responses.grade(problem, drawn, "dr_grpo")]
    calls = []
    plain = summary.one_spelling
    monkeypatch.setattr(summary, "one_spelling", lambda *of: calls.append(1) or plain(*of))
    votes(groups)
    assert len(calls) == 1

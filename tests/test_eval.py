"""Figures are what their names say, and their intervals hold what they promise."""
import itertools
import json
import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import eval as evaluation
import tasks
from eval import Graded, figures, majority, mean_interval, pass_at_k, share_interval
from reward import Reward
from sample import Rollout


def test_pass_at_k_is_the_share_of_subsets_that_hold_a_right_one():
    for n in range(1, 7):
        for right, k in itertools.product(range(n + 1), range(1, n + 1)):
            subsets = list(itertools.combinations([True] * right + [False] * (n - right), k))
            assert math.isclose(pass_at_k(n, right, k), sum(map(any, subsets)) / len(subsets))


@pytest.mark.parametrize("k", [0, 5])
def test_pass_at_k_needs_k_responses(k):
    with pytest.raises(ValueError, match="needs at least"):
        pass_at_k(4, 2, k)


@pytest.mark.parametrize("answers,right,value", [
    ("a", [1], 1), ("aab", [1, 1, 0], 1), ("abb", [1, 0, 0], 0), ("ab", [1, 0], 1 / 2), ("abc", [0, 1, 0], 1 / 3),
    ("aabbc", [1, 1, 0, 0, 1], 1 / 2), (["a", None, None], [1, 0, 0], 1), ([None, "a", "b", "b"], [0, 1, 0, 0], 0),
    ([None, None], [0, 0], 0)])
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
    assert width([0.0, 1.0] * 20) == pytest.approx(2 * width([0.0, 1.0] * 80), rel=0.1)  # four times the problems: half


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
    bootstrap = (sums[drawn].sum(1) / sizes[drawn].sum(1)).quantile(torch.tensor([0.025, 0.975])).tolist()
    values = [v for g in groups for v in g]
    assert mean == pytest.approx(sum(values) / len(values))
    assert [low, high] == pytest.approx(bootstrap, abs=0.1 * (high - low))
    of_values = 2 * 1.96 * torch.tensor(values).std().item() / math.sqrt(len(values))
    assert of_values < 0.7 * (high - low)  # as if responses to one problem were independent: too narrow


def test_a_length_that_no_response_has_is_none():
    assert mean_interval([]) == mean_interval([[], []]) == (None, None, None)


# ---------------------------------------------------------------- all figures

def graded(*rows):
    """Graded problems from rows of (answer, right?, length, finished?)."""
    return [Graded(tasks.Problem("data", "", "", ""), [Rollout([1], [5] * n, [0.0] * n, done) for _, _, n, done in row],
                   [Reward(0.0, float(ok), 0.0, "") for _, ok, _, _ in row], [answer for answer, *_ in row]) for row in rows]


def test_figures_of_two_problems_by_hand():
    found = figures(graded([("a", 1, 4, True), ("a", 1, 6, True), ("b", 0, 9, True), (None, 0, 20, False)],
                           [("c", 0, 5, True), ("d", 0, 5, True), (None, 0, 20, False), (None, 0, 20, False)]))
    by_hand = {"pass@1": 1 / 4, "pass@2": (1 - 1 / 6) / 2, "pass@4": 1 / 2, "maj@4": 1 / 2, "truncated": 3 / 8,
               "length": 89 / 8, "length_right": 5, "length_wrong": 79 / 6}
    assert found.keys() == {"problems", "k"} | by_hand.keys() | {name + "_ci" for name in by_hand}
    assert (found["problems"], found["k"]) == (2, 4)
    for name, value in by_hand.items():
        low, high = found[name + "_ci"]
        assert found[name] == pytest.approx(value)
        if name == "length_right":  # from one problem alone: nothing is known of how problems differ
            assert low is high is None
        else:
            assert low <= found[name] <= high
    assert all(name in evaluation.table(found) for name in by_hand)


def test_one_response_a_problem_has_no_majority_and_no_right_answer_has_no_length():
    found = figures(graded([("a", 0, 4, True)], [(None, 0, 8, False)]))
    assert {name for name in found if not name.endswith("_ci")} == {"problems", "k", "pass@1", "truncated", "length",
                                                                   "length_right", "length_wrong"}
    assert found["pass@1"] == 0 and found["length_right"] is None and found["length_right_ci"] == [None, None]
    assert "none" in evaluation.table(found)


# ---------------------------------------------------------------- python eval.py

def test_held_out_problems_are_the_first_of_one_list():
    assert evaluation.held_out("countdown", 30)[:10] == evaluation.held_out("countdown", 10)
    assert all(tasks.split_of(p.key) == "held-out" for p in evaluation.held_out("kk:2", 20))


def test_of_a_file_the_held_out_side_is_taken(tmp_path):
    (tmp_path / "d.jsonl").write_text("".join(json.dumps({"q": f"q{i}", "a": i}) + "\n" for i in range(100)))
    side = tasks.read_jsonl(tmp_path / "d.jsonl", "q", "a")["held-out"]
    assert evaluation.held_out("", 0, tmp_path / "d.jsonl", "q", "a") == side
    assert evaluation.held_out("", 3, tmp_path / "d.jsonl", "q", "a") == side[:3]


def test_the_command_line_prints_the_figures_and_writes_them(tiny_folder, tmp_path, monkeypatch, capsys):
    def figures_of(seed, file):
        monkeypatch.setattr("sys.argv", ["eval.py", "--model", tiny_folder, "--n", "4", "--k", "2", "--seed", seed, "--device",
                                         "cpu", "--max-new-tokens", "12", "--json", str(tmp_path / file)])
        evaluation.main()
        return json.loads((tmp_path / file).read_text())
    found = figures_of("3", "a.json")
    shown = capsys.readouterr().out
    assert found["problems"] == 4 and found["k"] == 2 and found["config"]["seed"] == 3
    assert {"pass@1", "pass@2", "maj@2", "truncated", "length"} <= found.keys()
    assert f"{found['truncated']:.3f}" in shown and f"{found['length']:.1f}" in shown and "pass@2" in shown
    again = figures_of("3", "b.json")
    assert {k: v for k, v in again.items() if k != "config"} == {k: v for k, v in found.items() if k != "config"}

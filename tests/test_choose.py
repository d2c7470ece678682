"""Which problems and responses are chosen, on a file made by hand where the right choice is known."""

import json
from dataclasses import replace

import pytest
from test_errors import refused

import eval as program
import tasks
from config import UserError
from evaluation import choose, responses
from evaluation.choose import Candidate, ChooseConfig
from evaluation.responses import Graded, Response

SEARCH = "4+16=20 no 4*16=64 no 64-5=59 no 4-16"  # verifies and backtracks three times


def drawn(text: str, tokens: int, finished: bool = True) -> Response:
    return Response(text, tokens, finished)


def group(number: int, rights: list[bool], level: int = 1, texts=None, tokens=None) -> Graded:
    """A problem with the answer `number`, and a response for each of `rights`."""
    problem = tasks.Problem("data", f"q{number}", str(number), f"data q{number}", {"level": level})
    made = []
    for i, right in enumerate(rights):
        thinking = texts[i] if texts else "so"
        answer = number if right else "x"
        text = f"{thinking} </think> <answer>{answer}</answer>"
        made.append(drawn(text, tokens[i] if tokens else 10))
    return responses.grade(problem, made, "dr_grpo")


def candidates(*groups: Graded) -> list[Candidate]:
    return [Candidate("hand", one) for one in groups]


def numbers(chosen: list[Candidate]) -> list[int]:
    """Which problems were chosen, in order."""
    return [int(candidate.graded.problem.answer) for candidate in chosen]


def chosen_by(given: list[Candidate], rates=None, **settings) -> list[Candidate]:
    """The choice of a rule among candidates."""
    config = ChooseConfig(files=("x",), **settings)
    return choose.choose(given, config, rates or choose.rates_of(given, [], None))


# Solve rates 0, 1/4, 2/4, 3/4, 1.
BY_RATE = candidates(*(group(i, [k < i for k in range(4)]) for i in range(5)))


@pytest.mark.parametrize(
    "lowest, highest, wanted",
    [
        (0.1, 0.9, {1, 2, 3}),
        (0.25, 0.5, {1, 2}),  # both bounds included
        (0, 0, {0}),
        (0, 1, {0, 1, 2, 3, 4}),
        (0.8, 0.9, set()),
    ],
)
def test_difficulty_takes_what_lies_between_the_bounds(lowest, highest, wanted):
    found = chosen_by(BY_RATE, by="difficulty", lowest=lowest, highest=highest)
    assert set(numbers(found)) == wanted and len(found) == len(wanted)
    assert all(len(candidate.graded.responses) == 4 for candidate in found)


def test_difficulty_may_be_that_of_another_model():
    others = candidates(*(group(i, [i == 3]) for i in range(5)))  # it solves problem 3 alone
    rates = choose.rates_of(BY_RATE, others, "weak.jsonl")
    found = chosen_by(BY_RATE, rates, by="difficulty", lowest=0, highest=0)
    assert set(numbers(found)) == {0, 1, 2, 4}
    with pytest.raises(UserError, match="weak.jsonl: lacks 2 of the 5"):
        choose.rates_of(BY_RATE, others[:3], "weak.jsonl")


def test_diversity_takes_as_many_from_each_class():
    # 12 of level 1, 5 of level 2, 2 of level 3
    sizes = [(1, 12), (2, 5), (3, 2)]
    levels = [level for level, n in sizes for _ in range(n)]
    given = candidates(*(group(i, [True], level) for i, level in enumerate(levels)))
    for n, wanted in ((3, [1, 1, 1]), (6, [2, 2, 2]), (10, [4, 4, 2]), (19, [12, 5, 2])):
        found = chosen_by(given, by="diversity", n=n)
        counts = [sum(levels[i] == level for i in numbers(found)) for level in (1, 2, 3)]
        assert counts == wanted and len(set(numbers(found))) == n
    control = chosen_by(given, by="random", n=6)
    assert [levels[i] for i in numbers(control)].count(3) < 2  # chance does not


def test_classes():
    kk = tasks.make_problems("kk:4", "train", 0, 1)[0]
    countdown = tasks.make_problems("countdown:3", "train", 0, 1)[0]
    for problem, size in ((kk, 4), (countdown, 3)):
        candidate = Candidate("made", Graded(problem, []))
        assert choose.class_of(candidate, "size") == (size,)
        assert choose.class_of(candidate, "task") == (problem.task,)
        assert choose.class_of(candidate, "all") == ("made", problem.task, None, size)
    assert choose.shape_of("(4+16)*5") == choose.shape_of("(20+1)*33") == "(n+n)*n"
    assert choose.shape_of("4+16*5") != choose.shape_of("(4+16)*5")
    told = choose.shape_of("(1) Ava is a knight\n(2) Ben is a knave")
    assert told == choose.shape_of("(1) Zoey is a knight\n(2) Mason is a knave")
    assert told != choose.shape_of("(1) Ava is a knave\n(2) Ben is a knight")


# Per problem: the first response is wrong and long, the second right and short, the third right.
MIXED = candidates(
    group(1, [False, True, True], texts=[SEARCH, "so", "so"], tokens=[99, 10, 30]),
    group(2, [False, True, True], texts=["so", "so", SEARCH], tokens=[99, 20, 25]),
    group(3, [False, True, True], texts=["so", SEARCH, SEARCH], tokens=[99, 50, 60]),
    group(4, [False, False, False]),
)


def test_length_takes_the_longest_right_response_and_the_longest_of_these():
    found = chosen_by(MIXED, by="length")
    assert numbers(found) == [3, 1, 2]
    assert [candidate.graded.responses[0].tokens for candidate in found] == [60, 30, 25]
    assert numbers(chosen_by(MIXED, by="length", n=1)) == [3]


def test_quality_takes_what_verifies_and_backtracks_most_a_token():
    found = chosen_by(MIXED, by="quality")
    # 6 in 25 tokens, 6 in 50, none
    assert numbers(found) == [2, 3, 1]
    assert [choose.quality(candidate.graded, 0) for candidate in found] == [24, 12, 0]
    assert [candidate.graded.responses[0].tokens for candidate in found][:2] == [25, 50]


def test_what_is_chosen_singly_is_right_finished_and_in_format():
    problem = tasks.Problem("data", "q", "7", "data q", {})
    made = [
        drawn("so </think> <answer>8</answer>", 10),  # wrong
        drawn("so </think> <answer>7</answer>", 10, finished=False),
        drawn(" </think> <answer>7</answer>", 10),  # no thinking: not in format
        drawn("so </think> <answer>7</answer>", 10),
    ]
    graded = responses.grade(problem, made, "dr_grpo")
    assert choose.usable(graded) == [3]
    for by in ("quality", "length"):
        assert chosen_by(candidates(graded), by=by)[0].graded.responses == made[3:]
    for by in ("random", "diversity"):
        found = chosen_by(candidates(graded), by=by, one=True)
        assert found[0].graded.responses == made[3:]
        assert chosen_by(candidates(graded), by=by)[0].graded.responses == made


def test_chance_is_a_matter_of_the_seed():
    given = candidates(*(group(i, [True]) for i in range(30)))
    for by in ("random", "difficulty", "diversity"):
        how = dict(by=by, n=10, highest=1.0)
        first = numbers(chosen_by(given, **how))
        assert first == numbers(chosen_by(given, **how))
        assert first != numbers(chosen_by(given, **how, seed=1))
        assert first != sorted(first)
    seen = set()
    for seed in range(40):
        seen.update(numbers(chosen_by(given, by="random", n=10, seed=seed)))
    assert seen == set(range(30))  # none is left out always


@pytest.mark.parametrize("right, wrong", [("quality", "length"), ("diversity", "random")])
def test_a_rule_under_the_name_of_another_is_seen(right, wrong):
    levels = [1] * 20 + [2] * 2
    spread = candidates(*(group(i, [True], level) for i, level in enumerate(levels)))
    given = {"quality": MIXED, "diversity": spread}[right]
    known = numbers(chosen_by(given, by=right, n=4))
    by_another = numbers(chosen_by(given, by=wrong, n=4))
    if right == "diversity":
        known = sorted(levels[i] for i in known)
        by_another = sorted(levels[i] for i in by_another)
        assert known == [1, 1, 2, 2]
    assert known != by_another


# ---------------------------------------------------------------- files


def saved(folder, groups: dict[str, list[Graded]], name="responses.jsonl") -> str:
    file = folder / name
    responses.save(file, {"reward": "dr_grpo", "k": 4, "task": "countdown"}, groups)
    return str(file)


def run(monkeypatch, *argv) -> None:
    monkeypatch.setattr("sys.argv", ["choose", *map(str, argv)])
    choose.main()


def test_the_choice_is_a_file_of_the_same_kind(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    groups = [candidate.graded for candidate in BY_RATE]
    source = saved(tmp_path, {"a": groups[:2], "b": groups[2:]})
    run(monkeypatch, source, "--lowest", "0.5", "--highest", "1", "--out", "c.jsonl")
    settings, graded = responses.read_graded("c.jsonl")
    assert set(graded) == {"b"} and settings["k"] == 4
    assert {int(one.problem.answer) for one in graded["b"]} == {2, 3, 4}
    for one in graded["b"]:
        assert one == groups[int(one.problem.answer)]
    shown = capsys.readouterr().out
    assert "solve rate 0.500" in shown and "solve rate 0.750" in shown
    assert "--n 100: there are only 3" in shown
    with open("c.jsonl") as file:
        assert set(json.loads(file.readline())) == {"config", "responses"}
    # A choice is chosen from again, and counted.
    run(monkeypatch, "c.jsonl", "--by", "length", "--out", "d.jsonl", "--n", "2")
    settings, graded = responses.read_graded("d.jsonl")
    assert settings["k"] == 1 and [len(one.responses) for one in graded["b"]] == [1, 1]
    monkeypatch.setattr("sys.argv", ["eval", "--regrade", "d.jsonl"])
    program.main()
    assert "1.000" in capsys.readouterr().out


def test_the_problems_alone_are_a_file_to_train_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made = tasks.make_problems("countdown:3", "train", 0, 6)
    groups = []
    for i, problem in enumerate(made):
        answer = problem.answer if i % 2 else "1"
        response = drawn(f"so </think> <answer>{answer}</answer>", 10)
        groups.append(responses.grade(problem, [response], "dr_grpo"))
    source = saved(tmp_path, {"countdown": groups})
    run(monkeypatch, source, "--lowest", 1, "--highest", 1, "--problems", "p.jsonl")
    assert {p.key for p in tasks.read_rows("p.jsonl")} == {p.key for p in made[1::2]}
    assert all(p.task == "countdown" for p in tasks.read_rows("p.jsonl"))


@pytest.mark.parametrize(
    "argv, says",
    [
        ([], "one file"),
        (["responses.jsonl", "responses.jsonl"], "one file"),
        (["responses.jsonl", "--lowest", "0.9", "--highest", "0.1"], "--lowest"),
        (["responses.jsonl", "--highest", "10"], "--highest"),
        (["responses.jsonl", "--by", "beauty"], "--by"),
        (["responses.jsonl", "--by", "random", "--rates", "responses.jsonl"], "--rates"),
        (["responses.jsonl", "--out", "responses.jsonl"], "--out"),
        (["responses.jsonl", "--out", "c.jsonl", "--problems", "c.jsonl"], "--problems"),
        (["responses.jsonl", "--out", "nowhere/c.jsonl"], "--out"),
        (["responses.jsonl", "--lowest", "0.8", "--highest", "0.9"], "chooses none"),
        (["missing.jsonl"], "missing.jsonl"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    tmp_path, monkeypatch, capsys, argv, says
):
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, {"a": [candidate.graded for candidate in BY_RATE]})
    assert says in refused(monkeypatch, capsys, choose, *argv)
    assert [file.name for file in tmp_path.iterdir()] == ["responses.jsonl"]


def test_a_problem_for_which_nothing_was_drawn_is_no_candidate():
    problem = replace(BY_RATE[0].graded.problem)
    empty = responses.grade(problem, [responses.NOT_DRAWN], "dr_grpo")
    assert choose.candidates_of({"a": [empty, BY_RATE[1].graded]}) == [
        Candidate("a", BY_RATE[1].graded)
    ]


def test_a_choice_of_a_benchmark_is_not_set_beside_figures_of_the_whole(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    about = {"suite": "math", "n": 0, "model": "Qwen/Qwen2.5-Math-7B"}
    groups = [candidate.graded for candidate in BY_RATE]
    responses.save(tmp_path / "whole.jsonl", about, {"math500": groups})
    run(monkeypatch, "whole.jsonl", "--n", "2", "--out", "two.jsonl")
    settings, graded = responses.read_graded("two.jsonl")
    assert settings["n"] == len(graded["math500"]) == 2
    capsys.readouterr()
    for file, beside in (("whole.jsonl", True), ("two.jsonl", False)):
        monkeypatch.setattr("sys.argv", ["eval", "--regrade", file])
        program.main()
        assert ("published" in capsys.readouterr().out) == beside


def test_a_reward_that_is_no_text_is_one_line(tmp_path, monkeypatch, capsys):
    groups = [BY_RATE[1].graded]
    path = tmp_path / "odd.jsonl"
    for odd in ({"reward": ["r1"]}, {"answer_style": {}}):
        responses.save(path, odd, {"a": groups})
        assert "no reward" in refused(monkeypatch, capsys, choose, path)

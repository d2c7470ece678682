"""Problems are solvable and fenced off, bad files are refused by line, templates as published, traces as stated."""

import ast
import copy
import dataclasses
import itertools
import json
import operator
import random
import re
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
from conftest import DATA_FOLDER

import tasks
from config import UserError
from reward import read_response
from tasks import Problem, files, sums, traces, words

DATA = DATA_FOLDER
OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def work_out(expression: str) -> tuple[Fraction, list[int]]:
    """(value, numbers used) of an expression, exactly; asserts that every value on the way is whole, 1 to 100."""
    used = []

    def walk(node):
        if isinstance(node, ast.Constant):
            used.append(node.value)
            return Fraction(node.value)
        value = OPERATORS[type(node.op)](walk(node.left), walk(node.right))
        assert value.denominator == 1 and 1 <= value <= tasks.LARGEST
        return value

    return walk(ast.parse(expression, mode="eval").body), used


# ---------------------------------------------------------------- generated problems


@pytest.mark.parametrize("size", [3, 4])
@pytest.mark.parametrize("split", tasks.SPLITS)
def test_every_countdown_is_solved_by_its_own_answer(size, split):
    for problem in tasks.make_problems(f"countdown:{size}", split, 0, 300):
        value, used = work_out(problem.answer)
        assert value == problem.facts["target"] and Counter(used) == Counter(
            problem.facts["numbers"]
        )
        stated = list(map(int, re.findall(r"\d+", problem.question)))
        assert (
            stated == [*problem.facts["numbers"], problem.facts["target"]]
            and len(stated) == size + 1
        )


def is_true(text: str, knights: dict[str, bool]) -> bool:
    """Whether a statement holds, read from its words alone."""
    if leaf := re.fullmatch(r"(\w+) is a (knight|knave)", text):
        return knights[leaf[1]] == (leaf[2] == "knight")
    if text.startswith("it is not so that "):
        return not is_true(text.removeprefix("it is not so that "), knights)
    if text.startswith("if "):
        first, second = text.removeprefix("if ").split(" then ")
        return not is_true(first, knights) or is_true(second, knights)
    word = next(w for w in (" if and only if ", " and ", " or ") if w in text)
    first, second = (is_true(part, knights) for part in text.split(word))
    return (
        first == second
        if "only" in word
        else first and second
        if "and" in word
        else first or second
    )


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_every_knights_and_knaves_has_one_solution_as_told_and_the_answer_states_it(size):
    for problem in tasks.make_problems(f"kk:{size}", "train", 0, 60):
        said = dict(re.findall(r"(\w+) says: ([^.]+)\.", problem.question))
        assert tuple(said) == problem.facts["names"] and len(said) == size
        worlds = [
            dict(zip(said, knights)) for knights in itertools.product((True, False), repeat=size)
        ]
        fits = [
            w for w in worlds if all(is_true(text, w) == w[name] for name, text in said.items())
        ]
        assert len(fits) == 1
        assert problem.answer == "\n".join(
            f"({i}) {name} is a {'knight' if knight else 'knave'}"
            for i, (name, knight) in enumerate(fits[0].items(), 1)
        )


def test_every_arithmetic_answer_is_the_value_of_the_expression_in_the_question():
    for task in ("arithmetic", "arithmetic:5"):
        for problem in tasks.make_problems(task, "train", 0, 300):
            value, _ = work_out(re.fullmatch(r"What is (.+)\?", problem.question)[1])
            assert problem.answer == str(value)
            assert all(work_out(text)[0] == result for text, result in problem.facts["moves"])


def test_every_sum_is_the_sum_of_the_two_numbers_in_the_question():
    for split in tasks.SPLITS:
        for problem in tasks.make_problems("sums:30", split, 0, 200):
            a, b = map(int, re.findall(r"\d+", problem.question))
            assert 1 <= min(a, b) and max(a, b) <= 30
            assert problem.answer == str(a + b)
            assert problem.facts["moves"] == [(f"{a}+{b}", a + b)]


# What the words around a number of a story say to do with it. The first that is found counts.
CUES = {
    "/": r"\b(among|into|between) N\b",
    "*": r"\bN \w+ (in|on) each\b",
    "-": r"\b(gives|loses|lost|sells|takes away) N\b|\bN fewer\b|\bto \w+ and N to\b",
    "+": r"\b(buys|gets|puts in|puts|another) N\b|\bN more\b|\band \w+ has N\b",
}


def told(story: str) -> int:
    """The answer of a word problem, worked out from the words around its numbers."""
    numbers = [int(number) for number in re.findall(r"\d+", story)]
    value = numbers[0]
    for i, number in enumerate(numbers[1:], 1):
        seen = itertools.count()
        marked = re.sub(r"\d+", lambda _: "N" if next(seen) == i else "0", story)
        operation = next(name for name, cue in CUES.items() if re.search(cue, marked))
        value = work_out(f"{value}{operation}{number}")[0]
    return value


@pytest.mark.parametrize("split", tasks.SPLITS)
@pytest.mark.parametrize("task", ["words:1", "words:2", "words"])
def test_every_word_problem_has_the_answer_that_its_words_tell(task, split):
    for problem in tasks.make_problems(task, split, 0, 400):
        assert problem.answer == str(told(problem.question)) and int(problem.answer) > 0
        assert all(work_out(text)[0] == value for text, value in problem.facts["moves"])
        assert problem.answer == str(problem.facts["moves"][-1][1])


def test_the_size_of_a_word_problem_is_its_number_of_steps():
    for task, sizes in (
        ("words:1", {1}),
        ("words:2", {2}),
        ("words:1-2", {1, 2}),
        ("words", {1, 2}),
    ):
        drawn = tasks.make_problems(task, "train", 0, 100)
        assert {len(problem.facts["moves"]) for problem in drawn} == sizes


@pytest.mark.parametrize("split", tasks.SPLITS)
def test_every_story_is_told(split):
    drawn = tasks.make_problems("words", split, 0, 1500)
    tellings = {re.sub(r"\d+", "N", problem.question) for problem in drawn}
    for plan, stories in words.STORIES[split].items():
        for story in stories:
            parts = re.sub(r"\\{[abc]\\}", "N", re.escape(story))
            pattern = re.sub(r"\\{\w+\\}", r"\\w+", parts)
            assert any(re.search(pattern, telling) for telling in tellings), (plan, story)


def wording(problem: Problem) -> str:
    """A question without its numbers, names and things."""
    drawn = [*words.NAMES["train"], *words.NAMES["held-out"]]
    drawn += [*words.THINGS["train"], *words.THINGS["held-out"]]
    return re.sub(rf"\d+|\b({'|'.join(drawn)})\b", "_", problem.question)


def numbers_told(problem: Problem):
    """The calculation of a question, in one order where the order does not matter."""
    numbers = re.findall(r"\d+", problem.question)
    if problem.task == "sums":
        return tuple(sorted(numbers))
    steps = [re.sub(r"\d+", "", text) for text, _ in problem.facts["moves"]]
    if steps[0] in "+*":
        numbers[:2] = sorted(numbers[:2])
    return tuple(steps), tuple(numbers)


@pytest.mark.parametrize("task", ["sums", "sums:30", "words:1", "words:1-2"])
def test_held_out_sums_and_word_problems_differ_in_numbers_and_in_wording(task):
    train = [p for seed in range(3) for p in tasks.make_problems(task, "train", seed, 500)]
    held_out = tasks.make_problems(task, "held-out", 0, 200)
    assert len({p.question for p in held_out}) == 200
    assert not {p.key for p in train} & {p.key for p in held_out}
    assert not {numbers_told(p) for p in train} & {numbers_told(p) for p in held_out}
    assert not {wording(p) for p in train} & {wording(p) for p in held_out}


@pytest.mark.parametrize("size, exist", [(20, 215), (30, 395)])
def test_as_many_held_out_sums_exist_as_stated(size, exist):
    assert f"{size} hold {exist}" in sums.make_sums.__doc__
    assert len(tasks.make_problems(f"sums:{size}", "held-out", 0, exist)) == exist
    with pytest.raises(UserError, match=f"only about {exist} different held-out problems"):
        tasks.make_problems(f"sums:{size}", "held-out", 0, exist + 1)


def test_what_follows_a_line_break_in_a_key_does_not_decide_the_split():
    for i in range(200):
        assert tasks.split_of(f"problem {i}") == tasks.split_of(f"problem {i}\nin other words")


def identity(problem: Problem):
    """What makes two problems the same, found from the question alone."""
    if problem.task == "countdown":
        *numbers, target = map(int, re.findall(r"\d+", problem.question))
        return tuple(sorted(numbers)), target
    if problem.task == "kk":
        names = re.findall(r"(\w+) says", problem.question)
        return re.sub(
            r"\w+",
            lambda word: str(names.index(word[0])) if word[0] in names else word[0],
            problem.question,
        )
    return problem.question


@pytest.mark.parametrize("task,n", [("countdown", 1000), ("kk", 500), ("arithmetic", 1000)])
def test_train_and_held_out_never_share_a_problem_whatever_the_seed(task, n):
    train = [p for seed in range(3) for p in tasks.make_problems(task, "train", seed, n)]
    held_out = [p for seed in range(2) for p in tasks.make_problems(task, "held-out", seed, n // 3)]
    assert not {p.key for p in train} & {p.key for p in held_out}
    assert not {identity(p) for p in train} & {identity(p) for p in held_out}


@pytest.mark.parametrize("task", ["countdown:2", "kk:2"])
def test_permuted_numbers_and_renamed_people_keep_their_key(task):
    rng, keys, questions = random.Random(0), {}, {}
    for _ in range(1500):
        problem = tasks.generator(task)(rng)
        keys.setdefault(identity(problem), set()).add(problem.key)
        questions.setdefault(identity(problem), set()).add(problem.question)
    assert (
        sum(len(q) > 1 for q in questions.values()) > 100
    )  # the same problem was told in several ways
    assert all(len(k) == 1 for k in keys.values())
    assert len(set.union(*keys.values())) == len(keys)  # and different problems have different keys


def test_one_problem_in_ten_is_held_out():
    share = sum(tasks.split_of(f"problem {i}") == "held-out" for i in range(10_000)) / 10_000
    assert abs(share - 26 / 256) < 0.01


@pytest.mark.parametrize("task", ["countdown:3", "kk", "arithmetic", "sums", "words"])
def test_draw_is_a_pure_function_and_its_problems_are_different(task):
    a, b, other = (tasks.make_problems(task, "train", seed, 50) for seed in (1, 1, 2))
    assert [(p, p.facts) for p in a] == [(p, p.facts) for p in b] and a != other
    assert len({p.key for p in a}) == 50 and tasks.make_problems(task, "train", 1, 20) == a[:20]


def test_draw_gives_as_many_problems_as_there_are_and_refuses_one_more():
    keys = {
        f"countdown {[a, b]} {value}"
        for a, b in itertools.combinations(range(1, 21), 2)
        for value in (a + b, b - a, a * b, Fraction(b, a))
        if value.denominator == 1 and value <= tasks.LARGEST
    }
    for split in tasks.SPLITS:
        exist = sum(tasks.split_of(key) == split for key in keys)
        assert {p.key for p in tasks.make_problems("countdown:2", split, 0, exist)} <= keys
        with pytest.raises(
            UserError, match=f"only about {exist} different {split} problems, not {exist + 1}"
        ):
            tasks.make_problems("countdown:2", split, 0, exist + 1)


def test_draw_refuses_only_if_the_task_has_fewer_problems():
    assert (
        len(tasks.make_problems("countdown:3", "held-out", 0, 1500)) == 1500
    )  # 1633 exist, by enumeration


@pytest.mark.parametrize(
    "task",
    [
        "chess",
        "countdown:1",
        "countdown:7",
        "kk:9",
        "kk:-2",
        "kk:3:4",
        "kk: 3",
        "",
        "kk:3-",
        "kk:5-3",
        "kk:3-9",
        "kk:1-3",
        "kk:3-4-5",
        "countdown:3,4",
        "sums:9",
        "sums:100",
        "words:0",
        "words:3",
        "words:1-3",
        "math",
        "math:3",
    ],
)
def test_an_unknown_task_or_size_is_refused(task):
    with pytest.raises(UserError, match="task"):
        tasks.make_problems(task, "train", 0, 1)


def test_a_range_draws_every_size_and_nothing_else():
    sizes = Counter(
        len(p.facts["numbers"]) for p in tasks.make_problems("countdown:3-4", "train", 0, 400)
    )
    assert set(sizes) == {3, 4} and min(sizes.values()) > 150
    assert {len(p.facts["names"]) for p in tasks.make_problems("kk:3-5", "held-out", 0, 60)} == {
        3,
        4,
        5,
    }
    assert tasks.make_problems("kk:4-4", "train", 0, 1)[0].task == "kk"


# ---------------------------------------------------------------- files


def good_lines(n=60, field="question"):
    return [json.dumps({field: f"What is {i}+1?", "answer": i + 1}) for i in range(n)]


def write(tmp_path, lines):
    (tmp_path / "d.jsonl").write_text("".join(line + "\n" for line in lines))
    return str(tmp_path / "d.jsonl")


@pytest.mark.parametrize(
    "line,says",
    [
        ("   ", "empty"),
        ('{"question": "q", "answer": "a"', "not JSON"),
        ('"text"', "not a JSON object"),
        (
            '{"answer": "a"}',
            r"no text in field 'problem' or 'question' or 'prompt' \(fields: answer\)",
        ),
        ("{}", r"\(fields: none\)"),
        ('{"question": "q"}', "'answer' or 'final_answer' or .* or 'solution'"),
        ('{"question": "q", "answer": null}', "no text in field 'answer'"),
        ('{"question": "q", "answer": {"value": 1}}', "'answer'"),
        ('{"question": {"text": "q"}, "answer": 1}', "no text in field 'question'"),
        ('{"question": " ", "answer": 1}', "no text in field 'question'"),
    ],
)
def test_a_bad_line_of_a_file_is_refused_by_its_number_with_a_reason(tmp_path, line, says):
    path = write(tmp_path, [*good_lines()[:40], line, *good_lines()[40:]])
    with pytest.raises(UserError, match=f"line 41: .*{says}"):
        tasks.read_jsonl(path)


def test_a_worked_answer_that_ends_at_its_marks_is_refused(tmp_path):
    path = write(
        tmp_path,
        [*good_lines(), json.dumps({"question": "What is 60+1?", "answer": "60+1=61\n#### "})],
    )
    with pytest.raises(UserError, match="line 61"):
        tasks.read_jsonl(path)


def test_a_file_that_is_not_utf_8_is_refused(tmp_path):
    path = write(tmp_path, good_lines())
    Path(path).write_bytes(
        Path(path).read_bytes() + '{"question": "Où?", "answer": "là"}\n'.encode("latin-1")
    )
    with pytest.raises(UserError, match="line 61"):
        tasks.read_jsonl(path)


def test_a_file_too_small_for_both_sides_is_refused(tmp_path):
    with pytest.raises(UserError, match="too few lines; train.py --eval-data .* --split all"):
        tasks.read_jsonl(write(tmp_path, good_lines(1)))
    with pytest.raises(UserError, match="no problem in it"):
        tasks.read_jsonl(write(tmp_path, []))


def test_the_fields_of_a_file_can_have_other_names_and_answers_may_be_numbers(tmp_path):
    sides = tasks.read_jsonl(write(tmp_path, good_lines(field="problem")), question_field="problem")
    found = {p.question: p for side in sides.values() for p in side}
    assert (
        len(found) == 60
        and found["What is 41+1?"].answer == "42"
        and found["What is 41+1?"].task == "data"
    )


def test_a_worked_answer_counts_from_its_four_marks(tmp_path):
    rows = [
        json.dumps(
            {"question": f"q{i}", "answer": f"{i}+{i} = <<{i}+{i}={2 * i}>>{2 * i}\n#### {2 * i:,}"}
        )
        for i in range(990, 1050)
    ]
    sides = tasks.read_jsonl(write(tmp_path, rows))
    assert {p.question: p.answer for side in sides.values() for p in side}["q1001"] == "2,002"


def test_questions_that_differ_in_spacing_are_one_problem(tmp_path):
    plain = good_lines()
    spaced = [line.replace("What is", "  What \\t is\\n") for line in plain]
    alone = tasks.read_jsonl(write(tmp_path, plain))
    both = tasks.read_jsonl(write(tmp_path, plain + spaced))
    assert both == alone


def test_questions_that_differ_in_capitals_are_two_problems_on_one_side(tmp_path):
    rows = []
    for i in range(60):
        rows.append(json.dumps({"question": f"What is f(a) in line {i}?", "answer": i}))
        rows.append(json.dumps({"question": f"What is f(A) in line {i}?", "answer": -i - 1}))
    sides = tasks.read_jsonl(write(tmp_path, rows))
    for side in sides.values():
        answers = {problem.question: int(problem.answer) for problem in side}
        assert answers
        for question, answer in answers.items():
            other = question.replace("f(a)", "f(A)") if answer >= 0 else question.lower()
            assert answers[other.replace("what", "What")] == -answer - 1
    assert sum(map(len, sides.values())) == 120


def read(tmp_path, *rows, **more):
    return tasks.read_rows(write(tmp_path, map(json.dumps, rows)), **more)


@pytest.mark.parametrize(
    "row, answer",
    [
        ({"problem": "q", "answer": "$\\frac{1}{2}$ "}, "\\frac{1}{2}"),
        ({"question": "q", "answer": 27.0}, "27"),
        ({"prompt": "q", "answer": -3}, "-3"),
        ({"problem": "q", "answer": 0.5}, "0.5"),
        ({"problem": "q", "answer": 1e-7}, "0.0000001"),
        ({"problem": "q", "answer": 1e22}, "1" + "0" * 22),
        ({"question": "q", "answer": "so\n#### 1,250"}, "1,250"),
        ({"question": "q", "final_answer": ["$69$,$84$"], "solution": ["..."]}, "69,84"),
        ({"question": "q", "answer": None, "final_answer": [2]}, "2"),
        ({"question": "q", "answer": "\\$18.90"}, "\\$18.90"),
        ({"problem": "q", "solution": "\\boxed{1}, so $\\boxed{\\sqrt{2}}$."}, "\\sqrt{2}"),
        ({"problem": "q", "answer": "7", "solution": "\\boxed{8}"}, "7"),
        ({"problem": "q", "question": "other", "answer": "7"}, "7"),
    ],
)
def test_the_fields_of_the_published_files_are_found(tmp_path, row, answer):
    (problem,) = read(tmp_path, row)
    assert (problem.question, problem.answer, problem.task) == ("q", answer, "math")


def test_fields_named_by_hand_beat_those_that_are_found(tmp_path):
    row = {
        "problem": "p",
        "question": "q",
        "answer": "1",
        "final_answer": ["2"],
        "solution": "\\boxed{3}",
        "goal": "4",
    }
    for field, answer in (("", "1"), ("final_answer", "2"), ("solution", "3"), ("goal", "4")):
        assert (
            read(tmp_path, row, question_field="question", answer_field=field)[0].answer == answer
        )
    with pytest.raises(UserError, match="line 1: no text in field 'gold'"):
        read(tmp_path, row, answer_field="gold")
    with pytest.raises(UserError, match="line 1: no text in field 'title'"):
        read(tmp_path, row, question_field="title")


@pytest.mark.parametrize(
    "row, says",
    [
        ({"problem": "q"}, "'answer' or 'final_answer' or .* or 'solution'"),
        ({"problem": "q", "answer": float("nan")}, "'answer'"),
        ({"problem": "q", "answer": [["7"]]}, "'answer'"),
        ({"problem": "q", "solution": "no box"}, "'solution'"),
        ({"problem": "q", "final_answer": []}, "'final_answer'"),
        ({"problem": "q", "answer": "so #### "}, "'answer'"),
    ],
)
def test_a_row_without_an_answer_is_refused_by_its_line(tmp_path, row, says):
    with pytest.raises(UserError, match=f"line 2: no text in field .*{says}"):
        read(tmp_path, {"problem": "p", "answer": "1"}, row)


def test_an_empty_answer_is_passed_over_aloud_in_maths_and_refused_elsewhere(tmp_path, capsys):
    rows = [
        {"problem": "p", "answer": "1"},
        {"problem": "q", "answer": None},
        {"problem": "r", "answer": ""},
    ]
    assert [p.question for p in read(tmp_path, *rows)] == ["p"]
    assert (
        "passed over 2 of its rows, without an answer: line 2, line 3\n" in capsys.readouterr().err
    )
    with pytest.raises(UserError, match="line 2"):
        read(tmp_path, *rows, task="data")


def test_rows_keep_their_order_and_their_doubles(tmp_path):
    rows = [{"problem": f"q{i % 7}", "answer": i} for i in range(30)]
    assert [(p.question, p.answer) for p in read(tmp_path, *rows)] == [
        (f"q{i % 7}", str(i)) for i in range(30)
    ]


def test_a_json_array_is_read_like_lines_and_refused_by_row(tmp_path):
    rows = [{"problem": f"q{i}", "answer": i} for i in range(60)]
    lines = read(tmp_path, *rows)
    (tmp_path / "a.json").write_text(json.dumps(rows, indent=1))
    assert tasks.read_rows(str(tmp_path / "a.json")) == lines
    for text, says in (
        (json.dumps([*rows, {"problem": "q"}]), "row 61: no text"),
        (json.dumps([*rows, 7]), "row 61: not a JSON object"),
        ('[{"problem": 1},', "a.json: not JSON"),
        ("[1]\n[2]", "a.json: not JSON"),
        ("[" * 10**5, "not JSON"),
    ):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(UserError, match=says):
            tasks.read_rows(str(tmp_path / "a.json"))


def test_dollars_around_mathematics_go_and_those_of_other_answers_stay(tmp_path):
    row = {"question": "q", "answer": "$x$ or \\$5"}
    assert (
        read(tmp_path, row)[0].answer == "x or \\$5"
        and read(tmp_path, row, task="data")[0].answer == row["answer"]
    )


@pytest.mark.parametrize(
    "row, facts",
    [
        ({}, {}),
        ({"level": 3}, {"level": 3}),
        ({"level": "Level 5"}, {"level": 5}),
        ({"level": "Level ?"}, {}),
        ({"difficulty": 2.5}, {"level": 2.5}),
        ({"level": 1, "difficulty": 5.0}, {"level": 1}),
        ({"difficulty": 0.0}, {"level": 0}),
        ({"error": "1e-1"}, {"tolerance": 0.1}),
        ({"error": 0.01}, {"tolerance": 0.01}),
        ({"error": "1e-1,1e-2"}, {}),
        ({"error": "inf"}, {}),
        ({"error": None, "unit": None}, {}),
        ({"unit": " km "}, {"unit": "km"}),
    ],
)
def test_what_else_a_row_states(tmp_path, row, facts):
    assert read(tmp_path, {"problem": "q", "answer": "1", **row})[0].facts == facts


def test_levels_choose_rows(tmp_path):
    rows = [{"problem": f"q{i}", "answer": i, "level": i % 6} for i in range(60)]
    found = read(tmp_path, *rows, levels=files.levels_of("3,5"))
    assert [int(p.answer) % 6 for p in found] == [3, 5] * 10
    with pytest.raises(UserError, match=r"no problem of level 7, 8-9 \(have: 0, 1, 2, 3, 4, 5\)"):
        read(tmp_path, *rows, levels=files.levels_of("7,8-9"))
    with pytest.raises(UserError, match="no level or difficulty"):
        read(tmp_path, {"problem": "q", "answer": 1}, levels=files.levels_of("3"))


@pytest.mark.parametrize(
    "levels, taken",
    [
        ("3-5", [3, 3.5, 4.25, 5]),
        ("3,4,5", [3, 5]),
        ("2.5-3.5", [2.5, 2.99, 3, 3.5]),
        ("3.5", [3.5]),
    ],
)
def test_a_range_of_levels_holds_what_lies_between_its_ends(tmp_path, levels, taken):
    known = [2.5, 2.99, 3, 3.5, 4.25, 5, 5.01]
    rows = [{"problem": f"q{level}", "answer": 1, "difficulty": level} for level in known]
    found = read(tmp_path, *rows, levels=files.levels_of(levels))
    assert [problem.facts["level"] for problem in found] == taken


@pytest.mark.parametrize(
    "text, levels",
    [
        ("", ()),
        ("3", ((3, 3),)),
        ("3,4,5", ((3, 3), (4, 4), (5, 5))),
        ("3-5", ((3, 5),)),
        ("1, 3 - 4.5", ((1, 1), (3, 4.5))),
    ],
)
def test_levels_are_written_as_a_list_or_a_range(text, levels):
    assert files.levels_of(text) == levels


@pytest.mark.parametrize("text", ["three", "3-", "5-3", "3,,4", "-3", "3.", "1-9999999", "٣"])
def test_other_levels_are_refused(text):
    with pytest.raises(UserError, match="3,4,5 or 3-5"):
        files.levels_of(text)


@pytest.mark.parametrize(
    "name, n, n_facts",
    [
        ("aime24", 30, 0),
        ("amc23", 40, 0),
        ("math500", 500, 500),
        ("minerva_math", 272, 0),
        ("olympiadbench", 675, 8),
        ("gsm8k_test", 1319, 0),
        ("math_train", 7470, 7470),
    ],
)
def test_the_published_files_are_read_whole(name, n, n_facts):
    if not (DATA / f"{name}.jsonl").exists():
        pytest.skip(f"no {DATA / name}.jsonl: real data is not checked")
    problems = tasks.read_rows(str(DATA / f"{name}.jsonl"))
    assert len(problems) == n and sum(bool(p.facts) for p in problems) == n_facts
    assert all(p.answer and not re.search(r"(?<!\\)\$", p.answer) for p in problems)
    assert name != "amc23" or not any("." in p.answer for p in problems)  # floats in the file


def test_gsm8k_is_read_whole():
    path = DATA / "gsm8k_train.jsonl"
    if not path.exists():
        pytest.skip(f"no {path}: real data is not checked")
    sides = tasks.read_jsonl(str(path))
    n = sum(map(len, sides.values()))
    assert n == 7473 and abs(len(sides["held-out"]) / n - 0.1) < 0.015
    assert all(re.fullmatch(r"-?[\d,.]+", p.answer) for side in sides.values() for p in side)
    natalia = next(
        p for side in sides.values() for p in side if p.question.startswith("Natalia sold clips")
    )
    assert natalia.answer == "72" and natalia.question.endswith("April and May?")


# ---------------------------------------------------------------- stop strings


def test_own_stop_strings_are_added_to_those_of_the_template():
    assert tasks.stop_strings("short") == ()
    assert tasks.stop_strings("simple", ("\n", "Q:")) == ("Question:", "\n", "Q:")
    assert tasks.stop_strings("r1", ("</answer>", "x", "x")) == ("</answer>", "x")  # each once
    with pytest.raises(UserError, match="--stop must not be empty"):
        tasks.stop_strings("r1", ("x", ""))


# ---------------------------------------------------------------- batches


@pytest.mark.parametrize("n", [1, 3, 4, 10, 12, 27])
def test_batches_cover_each_problem_once_per_epoch(n):
    problems = [Problem("data", str(i), "", str(i)) for i in range(10)]
    steps = [tasks.batch(problems, 5, step, n) for step in range(30)]
    assert all(len(step) == n for step in steps)
    stream = [p.key for step in steps for p in step]
    epochs = [stream[i : i + 10] for i in range(0, len(stream) - 9, 10)]
    assert all(sorted(epoch) == sorted(p.key for p in problems) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == len(epochs)  # each in an order of its own
    assert stream != [p.key for step in range(30) for p in tasks.batch(problems, 6, step, n)]


def test_a_batch_is_a_pure_function_of_seed_and_step():
    problems = [Problem("data", str(i), "", str(i)) for i in range(10)]
    for source in (problems, "countdown"):
        later = tasks.batch(source, 5, 8, 4)  # nothing that came before is needed
        assert later == [tasks.batch(source, 5, step, 4) for step in range(9)][8]
        assert later != tasks.batch(source, 5, 9, 4) and later != tasks.batch(source, 6, 8, 4)
    assert all(
        tasks.split_of(p.key) == "train"
        for step in range(20)
        for p in tasks.batch("countdown", 0, step, 20)
    )


# ---------------------------------------------------------------- templates


def test_the_r1_template_is_the_published_text():
    text = tasks.prompt(Problem("data", "What is 1+1?", "2", ""), "r1", None)
    assert text.startswith(
        "A conversation between User and Assistant. The User asks a question, and the Assistant solves "
        "it. The Assistant first thinks about the reasoning process in the mind and then provides the "
        "User with the answer. The reasoning process is enclosed within <think> </think> and answer "
    )
    assert text.endswith(
        " <think> reasoning process here </think> <answer> answer here </answer>.\n"
        "User: What is 1+1?\nAssistant: <think>"
    )


@pytest.mark.parametrize("template", sorted(set(tasks.TEMPLATES) - {"chat", "tinyzero"}))
def test_braces_in_a_question_survive_every_template(template):
    question = r"{x} {} {{y}} \frac{1}{2} {question!r} %s {0}"
    text = tasks.prompt(Problem("data", question, "", ""), template, None)
    assert text.count(question) == 1 and "{question}" not in text.replace(question, "")
    if template == "qwen-math":
        assert r"within \boxed{}.<|im_end|>" in text


def test_tinyzero_states_countdown_and_refuses_anything_else():
    problem = tasks.make_problems("countdown", "train", 0, 1)[0]
    numbers, target = list(problem.facts["numbers"]), problem.facts["target"]
    text = tasks.prompt(problem, "tinyzero", None)
    assert f"User: Using the numbers {numbers}, create an equation that equals {target}. " in text
    with pytest.raises(UserError, match="not 'kk'"):
        tasks.prompt(tasks.make_problems("kk", "train", 0, 1)[0], "tinyzero", None)


def test_chat_is_the_tokenizers_own_template_and_refused_without_one(tokenizer):
    problem = Problem("data", "Hello {name}?", "", "")
    with pytest.raises(UserError, match="no chat template"):
        tasks.prompt(problem, "chat", tokenizer)
    chatty = copy.deepcopy(tokenizer)
    chatty.chat_template = (
        "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %} [me]{% endif %}"
    )
    assert tasks.prompt(problem, "chat", chatty) == "[user] Hello {name}? [me]"


def test_an_unknown_template_is_refused():
    with pytest.raises(UserError, match="unknown template 'haiku'"):
        tasks.prompt(Problem("data", "", "", ""), "haiku", None)


# ---------------------------------------------------------------- traces


def test_the_mixtures_shares_sum_to_one_and_habits_are_picked_by_them():
    rng = random.Random(0)
    picked = Counter(traces.pick(rng) for _ in range(20_000))
    assert abs(sum(habit.share for habit in traces.MIXTURE.values()) - 1) < 1e-9
    assert all(
        abs(picked[name] / 20_000 - habit.share) < 0.015 for name, habit in traces.MIXTURE.items()
    )


@pytest.mark.parametrize("habit", traces.MIXTURE)
@pytest.mark.parametrize("task", ["countdown:3", "countdown:4", "kk", "arithmetic"])
def test_every_trace_keeps_the_format_and_answers_with_what_the_problem_gave(task, habit):
    rng = random.Random(0)
    for problem in tasks.make_problems(task, "train", "traces", 100):
        read = read_response(traces.trace(problem, habit, rng))
        assert read.answer is not None and read.fault == ""
        if problem.task == "countdown":
            assert Counter(work_out(read.answer)[1]) == Counter(problem.facts["numbers"])
        elif problem.task == "kk":
            assert tuple(re.findall(r"\) (\w+) is a kn", read.answer)) == problem.facts["names"]
        else:
            assert 1 <= int(read.answer) <= tasks.LARGEST


@pytest.mark.parametrize("habit", traces.MIXTURE)
@pytest.mark.parametrize("task", ["sums", "words"])
def test_a_plain_trace_writes_every_step_and_answers_right(task, habit):
    for problem in tasks.make_problems(task, "train", "traces", 100):
        text = traces.trace(problem, habit, random.Random(0))
        read = read_response(text)
        assert read.answer == problem.answer and read.fault == ""
        lines = text.partition("</think>")[0].splitlines()
        assert lines == [f"{move}={value}" for move, value in problem.facts["moves"]]


def test_a_task_without_traces_is_refused():
    with pytest.raises(UserError, match="'data' has no traces: choose countdown, kk"):
        traces.trace(Problem("data", "", "", ""), "guess", random.Random(0))


def right(problem, text):
    """Whether a trace of a Countdown problem ends in a right answer."""
    return work_out(re.search("<answer>(.*)</answer>", text)[1])[0] == problem.facts["target"]


def test_search_is_mostly_right_and_guess_mostly_wrong():
    rng, problems = random.Random(0), tasks.make_problems("countdown", "train", 1, 1000)
    share = {
        habit: sum(right(p, traces.trace(p, habit, rng)) for p in problems) / 1000
        for habit in traces.MIXTURE
    }
    assert share["search"] > 0.9 and share["guess"] < 0.2
    assert share["guess"] < share["try"] < share["search"]


def test_written_equations_are_wrong_at_the_stated_rate():
    rng, wrong, n = random.Random(0), 0, 0
    for problem in tasks.make_problems("countdown:4", "train", 0, 800) + tasks.make_problems(
        "arithmetic", "train", 0, 800
    ):
        text = traces.trace(problem, "search", rng)
        for move, shown in re.findall(r"^(\d+[-+*/]\d+)=(\d+)", text, re.MULTILINE):
            wrong, n = wrong + (work_out(move)[0] != int(shown)), n + 1
    assert n > 15_000 and abs(wrong / n - traces.SLIP) < 0.003  # four standard deviations


def test_a_search_that_never_slips_and_never_gives_up_always_finds_the_answer(monkeypatch):
    monkeypatch.setattr(traces, "SLIP", 0)
    monkeypatch.setitem(
        traces.MIXTURE, "search", dataclasses.replace(traces.MIXTURE["search"], give_up=0)
    )
    rng = random.Random(0)
    for problem in tasks.make_problems("countdown:3", "train", 2, 1000):
        text = traces.trace(problem, "search", rng)
        assert right(problem, text)
        assert (
            " yes" not in text.partition("</think>")[0].rpartition("\n")[0]
        )  # it stops at the first that fits
    for task in ("kk", "arithmetic"):
        for problem in tasks.make_problems(task, "train", 2, 200):
            assert read_response(traces.trace(problem, "search", rng)).answer == problem.answer


def test_a_verdict_compares_what_is_written_with_the_target():
    rng = random.Random(0)
    for problem in tasks.make_problems("countdown", "train", 3, 300):
        for shown, verdict in re.findall(r"=(\d+) (yes|no)\b", traces.trace(problem, "try", rng)):
            assert (int(shown) == problem.facts["target"]) == (verdict == "yes")

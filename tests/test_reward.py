"""What a response earns: the published holes by name, every total of every reward, and bounded time."""

import ast
import random
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import tasks
import train
from config import UserError
from grader import last_boxed
from reward import (
    LONGEST_SUMMARY,
    NAMES,
    ORIGINALS,
    REWARDS,
    TAGS,
    extract_answer,
    language_share,
    read_response,
    score,
    summary_of,
)
from tasks import Problem, check

ROOT = Path(__file__).parent.parent
# The files that read model text.
READERS = [
    "reward.py",
    *(f"tasks/{name}.py" for name in ("catalogue", "countdown", "knights", "arithmetic", "data")),
]
BEST = {
    "r1": 2.0,
    "r1_language": 2.0,
    "r1_scenarios": 2.0,  # without a summary
    "dr_grpo": 1.0,
    "tinyzero": 1.0,
    "simplerl": 1.0,
    "logic_rl": 3.0,
    "terse": 1.0,
}
# Those that pay for more than the answer and its format have tests of their own below.
OWN_TESTS = ("r1_language", "r1_scenarios", "terse")
RULES = [name for name in REWARDS if name not in OWN_TESTS]
NO_ANSWER = {"r1": 0.0, "dr_grpo": 0.0, "tinyzero": 0.0, "simplerl": -1.0, "logic_rl": -3.0}


def countdown(*numbers, target):
    return Problem("countdown", "", "", "", {"numbers": numbers, "target": target})


def data(answer):
    return Problem("data", "", answer, "")


SUM = Problem("arithmetic", "What is 20+4?", "24", "")
MAKE_24 = countdown(2, 3, 4, target=24)
PEOPLE = Problem(
    "kk", "", "", "", {"names": ("Ava", "Ben", "Zoey"), "knights": (True, False, True)}
)
PEOPLE_RIGHT = "(1) Ava is a knight\n(2) Ben is a knave\n(3) Zoey is a knight"


def longest(task):
    _, characters = tasks.CHECKS[task]
    return characters


def tagged(answer, thinking="some work"):
    return f"{thinking}</think> <answer>{answer}</answer>"


# ---------------------------------------------------------------- what each reward pays


@pytest.mark.parametrize("name", REWARDS)
def test_the_right_answer_earns_the_most_and_a_wrong_one_does_not(name):
    right, wrong = score(name, tagged("2*3*4"), MAKE_24), score(name, tagged("2+3+4"), MAKE_24)
    assert (right.total, right.accuracy, right.why) == (BEST[name], 1.0, "right")
    assert wrong.total < right.total and wrong.accuracy == 0.0 and wrong.why == "value is 9, not 24"


@pytest.mark.parametrize("name", RULES)
def test_no_answer_earns_the_least(name):
    for response in (
        "",
        "just talk",
        "thinking</think>",
        "work</think> <answer>2*3*4",
        "</answer>2*3*4<answer>",
    ):
        got = score(name, response, MAKE_24)
        assert got.total == NO_ANSWER[name] and got.accuracy == 0.0
    assert score(name, "just talk", MAKE_24).why == "no answer"


def totals(name, finished=True):
    """Every (total, format) that the reward gives to responses of all kinds."""
    kinds = [
        tagged(answer, thinking)
        for answer in ("2*3*4", "2+3+4", "hello", "", "2</answer> <answer>3")
        for thinking in ("work", "", "<think>work", "a<think>b")
    ]
    kinds += [
        tagged("2*3*4") + " and",
        r"so \boxed{2*3*4}",
        r"so \boxed{2+3+4}",
        r"so \boxed{hello}",
        "nothing",
    ]
    scores = [score(name, response, MAKE_24, finished) for response in kinds]
    return {(got.total, got.format) for got in scores}


@pytest.mark.parametrize(
    "name, expected",
    [
        ("r1", {(2, 1), (1, 1), (1, 0), (0, 0)}),
        ("dr_grpo", {(1, 0), (0, 0)}),
        ("tinyzero", {(1, 0), (0.1, 0.1), (0, 0)}),
        ("simplerl", {(1, 0), (-0.5, 0), (-1, 0)}),
        ("logic_rl", {(3, 1), (-0.5, 1), (-1, 1), (-3, -1)}),
        ("terse", {(1, 0), (0, 0)}),
    ],
)
def test_every_total_of_every_reward(name, expected):
    assert totals(name) == expected


@pytest.mark.parametrize(
    "name, response, total, format",
    [
        ("r1", tagged("2+3+4"), 1, 1),
        ("r1", tagged("hello"), 1, 1),
        ("r1", tagged("2*3*4", ""), 1, 0),
        ("tinyzero", tagged("2+3+4"), 0.1, 0.1),
        ("tinyzero", tagged("2*3*4", ""), 1, 0),
        ("simplerl", tagged("2+3+4"), -0.5, 0),
        ("simplerl", tagged("hello"), -0.5, 0),
        ("logic_rl", tagged("2+3+4"), -0.5, 1),
        ("logic_rl", tagged("hello"), -1, 1),
        ("logic_rl", "nothing", -3, -1),
    ],
)
def test_totals_where_they_belong(name, response, total, format):
    got = score(name, response, MAKE_24)
    assert (got.total, got.format) == (total, format)


@pytest.mark.parametrize("name", REWARDS)
@pytest.mark.parametrize(
    "response", [tagged("2*3*4"), tagged("2+3+4"), tagged("hello"), "work", r"\boxed{2*3*4}"]
)
def test_a_response_that_hit_the_length_limit_earns_nothing(name, response):
    cut, whole = score(name, response, MAKE_24, finished=False), score(name, response, MAKE_24)
    assert cut.total == min(whole.total, 0) and cut.accuracy == 0 and cut.format <= 0
    assert cut.why == "hit the length limit"


@pytest.mark.parametrize(
    "response, total",
    [("24", 1.2), (" 24.\n", 1.2), ("25", 0.2), ("20 + 4 = 24", 1.0), ("24 24", 1.0), ("no", 0.0)],
)
def test_terse_pays_for_a_response_that_is_nothing_but_its_answer(response, total):
    earned = score("terse", response, SUM, style="last-number")
    assert earned.total == total
    assert earned.format == (0.2 if total in (1.2, 0.2) else 0.0)
    assert score("terse", response, SUM, finished=False, style="last-number").total == 0


def test_unknown_reward_is_refused_with_the_choices():
    with pytest.raises(
        UserError,
        match="'r2'.*r1, r1_language, r1_scenarios, dr_grpo, tinyzero, simplerl, logic_rl",
    ):
        score("r2", "", SUM)
    with pytest.raises(UserError, match="chess"):
        check("e4", Problem("chess", "", "", ""))


@pytest.mark.parametrize("name", REWARDS)
@pytest.mark.parametrize(
    "task", ["countdown", "countdown:5", "kk", "kk:5", "arithmetic", "sums", "words"]
)
def test_the_answer_of_every_drawn_problem_is_right_under_every_reward(name, task):
    for split in tasks.SPLITS:
        for problem in tasks.make_problems(task, split, seed=0, n=20):
            assert (
                score(name, f"work</think> <answer>{problem.answer}</answer>", problem).total
                == BEST[name]
            )
            assert (
                score(name, f"work</think> <answer>{problem.answer} 1</answer>", problem).accuracy
                == 0
            )
            voted = extract_answer(
                tagged(problem.answer)
            )  # with single spaces, as majority votes see it
            assert check(voted, problem) == (True, True, "right")


# ---------------------------------------------------------------- the published holes, by name


@pytest.mark.parametrize(
    "answer, problem",
    [
        ("1.5*2", countdown(1, 5, 2, target=3)),  # TinyZero reads the digits 1, 5, 2
        ("2**3", countdown(2, 3, target=8)),
        ("7//2", countdown(7, 2, target=3)),
        ("9**9**9", countdown(9, 9, 9, target=1)),  # hangs an eval
        ("2*12=24", countdown(2, 12, target=24)),
        ("-2+3", countdown(2, 3, target=1)),
        ("3+(-2)", countdown(2, 3, target=1)),
        ("+3", countdown(3, target=3)),
        ("1e1", countdown(1, 1, target=10)),
        ("1_2", countdown(12, target=12)),
        ("0x8", countdown(8, target=8)),
        ("\u0663+\u0664", countdown(3, 4, target=7)),
        ("2\u00b3", countdown(2, 3, target=8)),  # Arabic-Indic, superscript
        ("\uff13+\uff14", countdown(3, 4, target=7)),
        ("3 4", countdown(3, 4, target=34)),
        ("(3)(4)", countdown(3, 4, target=12)),
        ("3(4)", countdown(3, 4, target=12)),
        ("(3+4", countdown(3, 4, target=7)),
        ("3+4)", countdown(3, 4, target=7)),
        ("()", countdown(3, target=3)),
        ("3+", countdown(3, target=3)),
        ("3+4; 5", countdown(3, 4, target=7)),
        ("max(3,4)", countdown(3, 4, target=4)),
        ("7%4", countdown(7, 4, target=3)),
        ("3|4", countdown(3, 4, target=7)),
        ("~3", countdown(3, target=-4)),
        ("hello", MAKE_24),
        ("__import__('os')", MAKE_24),
        ("2*3*4 or 2*3*4", MAKE_24),
    ],
)
def test_what_is_not_a_plain_expression_is_not_parsed(answer, problem):
    right, parsed, why = check(answer, problem)
    assert (right, parsed) == (False, False) and why
    for name in REWARDS:
        assert score(name, tagged(answer), problem).accuracy == 0.0
    assert score("tinyzero", tagged(answer), problem).total == 0.0


def test_hello_in_answer_tags_earns_nothing_from_tinyzero():
    assert score("tinyzero", "<answer>hello</answer>", MAKE_24).total == 0
    for problem in (MAKE_24, SUM, PEOPLE, data("24"), data("24 apples")):
        assert score("tinyzero", tagged("hello"), problem).total == 0


def test_the_prompts_own_example_is_wrong_unless_it_is_the_answer():
    got = score("tinyzero", tagged("(1 + 2) / 3"), countdown(1, 5, 2, target=3))
    assert (got.total, got.accuracy, got.why) == (0.1, 0, "uses 3, which is not given")
    assert score("tinyzero", tagged("(1 + 2) / 3"), countdown(1, 2, 3, target=1)).total == 1


@pytest.mark.parametrize("thinking", ["", " \n", "<think>", "<think> \n "])
def test_an_empty_think_part_breaks_the_format(thinking):
    response = tagged("2*3*4", thinking)
    assert [score(name, response, MAKE_24).total for name in ("r1", "dr_grpo", "logic_rl")] == [
        1,
        0,
        -3,
    ]
    assert score("logic_rl", response, MAKE_24).why == "right; no thinking"


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(
    "response",
    [
        tagged("2+3+4</answer> <answer>2*3*4"),
        tagged("2*3*4</answer>\n<answer>2*3*4"),
        tagged("<answer>2*3*4</answer>"),
        tagged("2*3*4") + tagged("2+3+4", ""),
    ],
)
def test_two_answers_are_none(name, response):
    got = score(name, response, MAKE_24)
    assert (got.total, got.accuracy) == (NO_ANSWER[name], 0) and got.why.startswith("two ")


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(
    "response",
    [
        "<think>it is <answer>2*3*4</answer>",
        "it is <answer>2*3*4</answer>",
        "it is <answer>2*3*4</answer></think>",
        "<think>it is <answer>2*3*4</answer></think> done",
        r"it is \boxed{2*3*4}</think> done",
        r"<think>it is \boxed{2*3*4}",
        "work</think> <think><answer>2*3*4</answer>",
        "<answer>work</think>2*3*4</answer>",
    ],
)
def test_an_answer_inside_the_thinking_is_none(name, response):
    got = score(name, response, MAKE_24)
    assert (got.total, got.accuracy) == (NO_ANSWER[name], 0)
    assert extract_answer(response) is None


def test_a_question_repeated_is_no_answer():
    """`What is 12/4?` must not be answered by `12/4`."""
    problem = Problem("arithmetic", "What is 12/4?", "3", "")
    assert check("12/4", problem)[:2] == (False, False) and check("3", problem)[0]


def evaluators(source):
    """The names in a source that can run text; `re.compile` is an attribute and not one of them."""
    nodes = list(ast.walk(ast.parse(source)))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    names |= {
        part
        for node in nodes
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
        for part in (alias.name, getattr(node, "module", ""))
    }
    return names & {
        "eval",
        "exec",
        "compile",
        "__import__",
        "getattr",
        "ast",
        "sympy",
        "subprocess",
        "importlib",
        "os",
    }


def test_nothing_evaluates_model_text():
    assert evaluators("x = eval(answer)") == {"eval"} and evaluators(
        "from sympy import sympify"
    ) == {"sympy"}
    for file in READERS:
        assert evaluators((ROOT / file).read_text()) == set()


# ---------------------------------------------------------------- reading a response


@pytest.mark.parametrize(
    "response",
    [
        tagged("24"),
        "<think>" + tagged("24"),
        " \n<think>\n" + tagged("24"),
        "a</think><answer>24</answer>",
        "a\n</think>\n\n<answer>\n24\n</answer>\n \n",
        "1 < 2 > 0 <b></think><answer>24</answer>",
    ],
)
def test_the_format_holds(response):
    assert read_response(response).fault == "" and extract_answer(response) == "24"
    assert score("r1", response, SUM).total == 2


@pytest.mark.parametrize(
    "response, fault",
    [
        (tagged("24", ""), "no thinking"),
        (tagged("24", "<think>a <think>"), "a tag inside the thinking"),
        (tagged("24", "Sure. <think>a"), "a tag inside the thinking"),
        (tagged("24", "in <answer> </answer> tags"), "a tag inside the thinking"),
        ("a</think> So <answer>24</answer>", "text before the answer"),
        (tagged("24") + " Bye", "text after the answer"),
        (tagged("24") + "<think>", "text after the answer"),
    ],
)
def test_a_broken_format_leaves_the_accuracy(response, fault):
    assert read_response(response).fault == fault
    for name in REWARDS:
        assert score(name, response, SUM).accuracy == 1
    assert [score(name, response, SUM).total for name in RULES] == [
        1,
        0,
        1,
        1,
        -3,
    ]  # in the order of RULES
    assert score("r1", response, SUM).why == "right; " + fault


@pytest.mark.parametrize(
    "response, fault",
    [
        ("", "no answer"),
        ("a</think>", "no answer"),
        ("a</think></think><answer>24</answer>", "two </think>"),
        (tagged(""), "the answer is empty"),
        (tagged(r"\boxed{}"), "the answer is empty"),
        (r"\boxed{ }", "the answer is empty"),
        ("<answer>24</answer>", "no </think> before the answer"),
        ("a</think><answer>24", "the answer tags do not match"),
        (tagged("24") + "</answer>", "the answer tags do not match"),
        ("a</think></answer>24<answer>", "the answer tags do not match"),
    ],
)
def test_why_there_is_no_answer(response, fault):
    reading = read_response(response)
    assert reading.answer is None and reading.fault == fault == score("r1", response, SUM).why


@pytest.mark.parametrize(
    "response, answer",
    [
        (r"so \boxed{24}", "24"),
        (r"so $\boxed{24}$.", "24"),
        (r"\boxed{1} no: \boxed{24} yes", "24"),
        (r"\boxed{24} or \boxed{2", "24"),
        (r"\boxed{2 \boxed{24}", "24"),
        (r"\boxed{\boxed{24}}", "24"),
        (r"\boxed{\frac{1}{2}} {", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{(0, 1\}}", r"(0, 1\}"),
        (r"\boxed{1}</think> \boxed{24}", "24"),
        (r"<think>\boxed{1}</think> \boxed{24}", "24"),
        (r"\boxed{24} <think> \boxed{1}", "24"),
        (tagged(r"\boxed{24}"), "24"),
        (tagged(r"\boxed{1} \boxed{24}"), "24"),
        (r"in <answer> tags</think> \boxed{24}", "24"),
        (r"\boxed{24", None),
        (r"\boxed 24", "24"),
        (r"boxed{24}", None),
        (r"\boxed{" + "{}" * 2000 + "}", None),
        (r"\boxed{24}" + r"\boxed{" * 200, "24"),
        ("a</think>\n<answer> 2\n *  12 </answer>", "2 * 12"),
    ],
)
def test_boxes(response, answer):
    assert extract_answer(response) == answer


def test_a_box_alone_is_enough_except_for_the_format():
    assert [score(name, r"so \boxed{24}", SUM).total for name in RULES] == [1, 1, 1, 1, -3]
    assert [score(name, r"so \boxed{42}", SUM).total for name in RULES] == [0, 0, 0.1, -0.5, -3]
    assert score("dr_grpo", r"so \boxed{24}", SUM).why == "right"
    assert score("logic_rl", r"so \boxed{24}", SUM).why == "right; no answer tags"


# ---------------------------------------------------------------- countdown


@pytest.mark.parametrize(
    "answer, why",
    [
        ("2*3*4", "right"),
        ("(2 * 3) * 4", "right"),
        ("2×3×4", "right"),
        ("((2)*(3*4))", "right"),
        ("2*03*4", "right"),
        ("2*3", "does not use 4"),
        ("2*3*4*1", "uses 1, which is not given"),
        ("2*3*3*4", "uses 3 twice"),
        ("2*3*4/4*4", "uses 4 3 times"),
        ("24", "uses 24, which is not given"),
        ("2+3+4", "value is 9, not 24"),
        ("2/3/4", "value is 1/6, not 24"),
        ("4/(2+3)", "value is 4/5, not 24"),
        ("2-3-4", "value is -5, not 24"),
    ],
)
def test_countdown_each_number_exactly_once(answer, why):
    assert check(answer, MAKE_24) == (why == "right", True, why)


def test_countdown_numbers_given_twice_are_used_twice():
    problem = countdown(3, 3, 2, target=18)
    assert check("3*3*2", problem)[0] and not check("3*2", problem)[0]
    assert check("3*2", problem)[2] == "uses 3 once"


def test_countdown_values_are_exact():
    assert check("3/(1-2/3)", countdown(1, 2, 3, 3, target=9))[0]
    assert not check("6/(1-3/4)", countdown(1, 3, 4, 6, target=25))[0]
    assert check("6/(1−3÷4)", countdown(1, 3, 4, 6, target=24))[0]
    assert (
        check("8/3*3", countdown(8, 3, 3, target=8))[0]
        and not check("8/(3*3)", countdown(8, 3, 3, target=8))[0]
    )


def test_countdown_division_by_zero_is_wrong_and_syntax_still_counts():
    problem = countdown(4, 2, 2, target=4)
    assert check("4/(2-2)", problem) == (False, True, "divides by zero")
    assert check("(4/(2-2)", problem)[1] is False
    assert check("1/(4/(2-2))", countdown(1, 4, 2, 2, target=0)) == (False, True, "divides by zero")


def test_countdown_is_bounded():
    assert not check("(" * 21 + "24" + ")" * 21, countdown(24, target=24))[1]
    assert check("(" * 20 + "24" + ")" * 20, countdown(24, target=24))[0]
    assert not check("0000000024", countdown(24, target=24))[1]  # ten digits
    assert check("1" + "+1" * 99, countdown(*[1] * 100, target=100))[0]
    assert not check("1" + "+1" * 100, countdown(*[1] * 101, target=101))[1]  # 201 characters


LEVEL = {"+": 1, "-": 1, "*": 2, "/": 2}


def render(tree, rng):
    """A tree as (text, level of its operator), with no more brackets than needed, and now and then some more."""
    if isinstance(tree, int):
        return str(tree), 3
    operator, left, right = tree
    (a, a_level), (b, b_level) = render(left, rng), render(right, rng)
    if a_level < LEVEL[operator] or rng.random() < 0.2:
        a = f"({a})"
    if (
        b_level <= LEVEL[operator] or rng.random() < 0.2
    ):  # left-associative: the right side needs brackets when equal
        b = f"({b})"
    return a + rng.choice(("", " ")) + operator + rng.choice(("", " ")) + b, LEVEL[operator]


def exact(tree):
    if isinstance(tree, int):
        return Fraction(tree)
    operator, left, right = tree
    a, b = exact(left), exact(right)
    return (
        a + b
        if operator == "+"
        else a - b
        if operator == "-"
        else a * b
        if operator == "*"
        else a / b
    )


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 99), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_the_parser_agrees_with_random_expression_trees(numbers, rng):
    pool = list(numbers)
    while len(pool) > 1:
        left, right = (pool.pop(rng.randrange(len(pool))) for _ in range(2))
        pool.append((rng.choice("+-*/"), left, right))
    text = render(pool[0], rng)[0]
    try:
        value = exact(pool[0])
    except ZeroDivisionError:
        assert check(text, countdown(*numbers, target=1)) == (False, True, "divides by zero")
        return
    assert check(text, countdown(*numbers, target=value)) == (True, True, "right")
    assert check(text, countdown(*numbers, target=value + 1))[:2] == (False, True)
    assert not check(text, countdown(*numbers, 7, target=value))[0]  # one number unused
    assert not check(f"({text})+0", countdown(*numbers, target=value))[0]  # one number too many
    assert check(text.translate(str.maketrans("*/-", "×÷−")), countdown(*numbers, target=value))[0]


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="0123456789+-*/() .=×÷−\u0663\u00b2", max_size=30))
@example("1/0")
def test_random_characters_are_read_or_refused(text):
    right, parsed, why = check(text, countdown(1, 2, 3, target=97))
    assert not right and isinstance(parsed, bool) and why
    if parsed:
        assert set(text) <= set("0123456789+-*/() ×÷−") and "**" not in text and "//" not in text


# ---------------------------------------------------------------- knights and knaves


@pytest.mark.parametrize(
    "answer",
    [
        PEOPLE_RIGHT,
        "Ava is a knight, Ben is a knave, and Zoey is a knight",
        "ava is a KNIGHT\nBEN IS A KNAVE\nzoey is a knight",
        "Zoey is a knight and Ben is a knave and Ava is a knight",
        "Ava is a knight. Ben is a knave. Zoey is a knight.",
        "(1) Ava is a knight (2) Ben is a knave (3) Zoey is a knight",
        "Ava is a knight,Ben is a knave;Zoey is a knight",
        "- Ava is a knight\n- Ben is a knave\n- Zoey is a knight",
        "1. Ava is a knight.\n2. Ben is a knave.\n3. Zoey is a knight.",
        "1) Zoey is a knight\n2) Ava is a knight\n3) Ben is a knave",
        "**Ava** is a knight\n**Ben** is a knave\n**Zoey** is a knight",
        "* **Ava is a knight.**\n* **Ben is a knave.**\n* **Zoey is a knight.**",
        "• *Ava* is a `knight`\n• *Ben* is a `knave`\n• *Zoey* is a `knight`",
        "1. **Ava** is a **knight**\n2. **Ben** is a **knave**\n3. **Zoey** is a **knight**",
    ],
)
def test_kk_right(answer):
    assert check(answer, PEOPLE) == (True, True, "right")
    assert score("logic_rl", tagged(answer), PEOPLE).total == 3


@pytest.mark.parametrize(
    "answer, why",
    [
        ("Ava is a knight, Ben is a knave", "does not say what Zoey is"),
        (PEOPLE_RIGHT + "\nAva is a knight", "names Ava twice"),
        (PEOPLE_RIGHT + "\nAva is a knave", "names Ava twice"),
        (PEOPLE_RIGHT + "\nTheo is a knave", "there is no Theo"),
    ],
)
def test_kk_missing_repeated_or_unknown_people_are_not_parsed(answer, why):
    assert check(answer, PEOPLE) == (False, False, why)
    assert score("logic_rl", tagged(answer), PEOPLE).total == -1


@pytest.mark.parametrize(
    "change",
    [
        ("Ben is a knave", "Ben is a knave or a knight"),
        ("Ben is a knave", "Ben is a knaves"),
        ("Ben is a", "Ben is not a"),
        ("Ben is a", "if Ben is a"),
        ("(2) Ben is a", "- **Ben** is **not** a"),
        ("Ben is a knave", "**Ben is a knave** or **Ben is a knight**"),
        ("(2) Ben", "2. 3. Ben"),
        ("Ben is a knave", "Ben is a ~~knight~~ knave"),
        ("Ben is a knave", "Ben: knave"),
        ("Ben", "Ben Ben"),
        ("Ben", "B\u0435n"),
        ("(2)", "(\u0662)"),
        ("knave", "knave?"),
        ("Ben is a knave", "Ben is a \u212anave"),
        ("Ben is a knave", ""),
    ],
)
def test_kk_anything_else_is_not_parsed(change):
    assert check(PEOPLE_RIGHT.replace(*change), PEOPLE)[:2] == (False, False)
    assert check(PEOPLE_RIGHT, PEOPLE)[0]


def test_kk_parsed_but_wrong():
    wrong = PEOPLE_RIGHT.replace("knave", "knight")
    assert check(wrong, PEOPLE) == (False, True, "Ben is not a knight")
    assert score("logic_rl", tagged(wrong), PEOPLE).total == -0.5


def test_kk_exactly_one_assignment_is_right():
    for problem in tasks.make_problems("kk:4", "train", 1, 5):
        names = problem.facts["names"]
        answers = [
            tasks.identities(names, tuple(bool(bits >> i & 1) for i in range(4)))
            for bits in range(16)
        ]
        verdicts = [check(answer, problem) for answer in answers]
        assert sum(right for right, _, _ in verdicts) == 1 and all(
            parsed for _, parsed, _ in verdicts
        )


# ---------------------------------------------------------------- arithmetic and data


@pytest.mark.parametrize(
    "answer, verdict",
    [
        ("24", (True, True)),
        (" 24 ", (True, True)),
        ("24.0", (True, True)),
        ("024", (True, True)),
        ("+24", (True, True)),
        ("25", (False, True)),
        ("-24", (False, True)),
        ("24.01", (False, True)),
        ("24.", (False, False)),
        ("48/2", (False, False)),
        ("20+4", (False, False)),
        ("\uff12\uff14", (False, False)),
        ("\u0662\u0664", (False, False)),
        ("\u00b2\u2074", (False, False)),
        ("2_4", (False, False)),
        ("2.4e1", (False, False)),
        ("24 apples", (False, False)),
        ("24 24", (False, False)),
        ("nan", (False, False)),
        ("inf", (False, False)),
        ("", (False, False)),
        ("-", (False, False)),
        (".", (False, False)),
        ("0" * 48 + "24", (True, True)),
        ("0" * 49 + "24", (False, False)),
    ],
)
def test_arithmetic(answer, verdict):
    assert check(answer, SUM)[:2] == verdict


@pytest.mark.parametrize(
    "answer, gold, verdict",
    [
        ("1250", "1,250", (True, True)),
        ("$1,250.00", "1250", (True, True)),
        (r"\$1,250", "1250", (True, True)),
        ("$24$", "24", (True, True)),
        ("24.", "24", (True, True)),
        ("50%", "50", (True, True)),
        (r"50\%", "50", (True, True)),
        ("27", "27.0", (True, True)),
        ("1/2", "0.5", (True, True)),
        (".5", "1/2", (True, True)),
        ("-3", "-3", (True, True)),
        ("033", "33", (True, True)),
        ("12,50", "1250", (False, False)),
        ("1250.5", "1250", (False, True)),
        ("0.333", "1/3", (False, True)),
        ("1/0", "1", (False, False)),
        ("1e3", "1000", (False, False)),
        ("1e999999999", "1", (False, False)),
        ("1_000", "1000", (False, False)),
        ("\u0662\u0664", "24", (False, False)),
        ("24 dollars", "24", (False, False)),
        ("or 24", "24", (False, False)),
        ("", "24", (False, False)),
        (r"\frac{1}{2}", r"\frac{1}{2}", (True, True)),
        ("x  +\n1", " x + 1 ", (True, True)),
        ("x+2", "x+1", (False, False)),
        ("Ava", "ava", (False, False)),
        ("5", "x", (False, True)),
        ("$", "24", (False, False)),
        ("%", "", (False, False)),
    ],
)
def test_data(answer, gold, verdict):
    assert check(answer, data(gold))[:2] == verdict


# ---------------------------------------------------------------- maths and answer styles


def maths(answer, **facts):
    return Problem("math", "", answer, "", facts)


@pytest.mark.parametrize(
    "answer, gold, right",
    [
        ("24", "24", True),
        ("25", "24", False),
        (r"\frac{1}{2}", "0.5", True),
        ("1/2", r"\dfrac12", True),
        ("no idea", "24", False),
        ("x+1", "1+x", True),
        ("x+2", "1+x", False),
        ("24" + " " * 3000, "24", True),
        ("24 " * 1000, "24", False),
    ],
)
def test_maths_is_compared_by_value_and_every_answer_is_parsed(answer, gold, right):
    assert check(answer, maths(gold))[:2] == (
        right,
        len(" ".join(answer.split())) <= longest("math"),
    )


def test_a_problem_may_state_its_tolerance():
    assert not check("4.25", maths("4.2"))[0] and check("4.25", maths("4.2", tolerance=0.1))[0]
    assert not check("4.35", maths("4.2", tolerance=0.1))[0]


def test_data_is_not_maths():
    assert check("x+1", maths("1+x"))[0] and not check("x+1", data("1+x"))[0]


@pytest.mark.parametrize(
    "style, right, elsewhere",
    [
        ("auto", tagged("24"), "it is 24"),
        ("auto", r"so \boxed{24}", "#### 24"),
        ("boxed", r"so \boxed{24}, 3", tagged("24")),
        ("answer-tag", tagged("24"), r"so \boxed{24}"),
        ("last-number", "so 24.", "24, no: 3"),
        ("last-number", "#### 24", "one"),
    ],
)
def test_a_style_reads_its_own_place_alone(style, right, elsewhere):
    for problem in (SUM, maths("24"), data("24")):
        assert score("dr_grpo", right, problem, style=style).total == 1
        got = score("dr_grpo", elsewhere, problem, style=style)
        assert (got.total, got.accuracy) == (0, 0) and got.why
    assert score("dr_grpo", right, SUM, finished=False, style=style).total == 0


def test_boxes_and_numbers_have_no_format_to_break():
    assert (
        score("r1", r"\boxed{24}", SUM, style="boxed").total
        == 2
        == score("r1", "24", SUM, style="last-number").total
    )
    assert score("r1", "no number", SUM, style="last-number").total == 0
    assert score("r1", r"\boxed{24}", SUM).total == 1  # the default style asks for tags


def test_an_unknown_style_is_refused():
    with pytest.raises(UserError, match="'guess'"):
        score("r1", "24", SUM, style="guess")


# ---------------------------------------------------------------- the language of the thinking


@pytest.mark.parametrize(
    "thinking, share",
    [
        ("So we try the next one", 1),
        ("So 我们 try", 1 / 2),
        ("我们需要计算", 0),
        ("Привет мир and so", 1 / 2),
        ("なので so", 1 / 4),
        ("한국어 단어 word", 1 / 3),
        ("Σωκράτης says", 1 / 2),
        ("café naïve", 1),
        ("don't", 1),
        ("we 设x=3 have", 2 / 3),
        # none of these is a word, so they change nothing, and alone they earn nothing
        ("we 3 x y α π αβ ∑∫√ ≤ \\frac{1}{2} \\alpha ℝ 𝐀𝐁 x_1 12.5", 1),
        ("x = 3, y = αβ, \\frac{1}{2}", 0),
        ("", 0),
        ("  \n", 0),
    ],
)
def test_the_share_of_words_in_latin_letters(thinking, share):
    got = score("r1_language", tagged("25", thinking), SUM)
    assert (got.total, got.format, got.accuracy) == (pytest.approx(share), pytest.approx(share), 0)
    assert score("r1_language", tagged("24", thinking), SUM).total == pytest.approx(1 + share)


def test_the_answer_is_not_thinking_and_the_length_limit_takes_the_share():
    assert score("r1_language", tagged("well then", "我们"), SUM).total == 0
    assert score("r1_language", "we think and", SUM, finished=False).total == 0
    assert (
        score("r1_language", r"so we say \boxed{24}", SUM, style="boxed").total == 2
    )  # without tags all of it is thinking


def test_thinking_without_words_has_no_share_and_its_words_are_counted():
    assert language_share("3*8=24") is None
    assert language_share("我们") == 0
    silent = score("r1_language", tagged("24", "3*8=24"), SUM)
    foreign = score("r1_language", tagged("24", "我们 3*8=24"), SUM)
    mixed = score("r1_language", tagged("24", "so 我们 say"), SUM)
    assert silent.total == foreign.total == 1
    assert (silent.words, silent.latin_words) == (0, 0)
    assert (foreign.words, foreign.latin_words) == (2, 0)
    assert (mixed.words, mixed.latin_words) == (4, 2)
    assert mixed.total == 1.5


# ---------------------------------------------------------------- a summary, and forbidden words


@pytest.mark.parametrize(
    "shown, summary",
    [
        ("In short, 3*8 is 24. <answer>24</answer>", "In short, 3*8 is 24."),
        ("<answer>24</answer> for 3*8 is 24.", "for 3*8 is 24."),
        ("So it is <answer>24</answer>, as 3*8 says.", "So it is , as 3*8 says."),
        (r"In short, \boxed{24}", r"In short, \boxed{24}"),
        ("<answer>24</answer>", ""),
        ("", ""),
    ],
)
def test_a_summary_is_what_stands_beside_the_answer(shown, summary):
    assert summary_of("we try 3*8</think> " + shown) == summary


def test_what_stands_in_the_thinking_is_no_summary():
    assert summary_of("in short, 24 <answer>24</answer>") == ""


def test_a_short_summary_is_paid_and_a_long_one_is_not():
    response = "so</think> {} <answer>24</answer>"
    for characters, paid in ((0, 0), (1, 1), (LONGEST_SUMMARY, 1), (LONGEST_SUMMARY + 1, 0)):
        got = score("r1_scenarios", response.format("x" * characters), SUM)
        assert (got.total, got.format, got.accuracy) == (2 + paid, 1 + paid, 1), characters


@pytest.mark.parametrize("place", ["so {}</think> It is", "so</think> It is {}"])
def test_a_forbidden_word_takes_everything_wherever_it_stands(place):
    for word in ("Damn", "shut up", "idiots"):
        got = score("r1_scenarios", place.format(word) + " <answer>24</answer>", SUM)
        assert (got.total, got.format, got.accuracy) == (0, 0, 1)
    assert score("r1_scenarios", place.format("well") + " <answer>24</answer>", SUM).total == 3


def test_the_length_limit_takes_the_summary_too():
    response = "so</think> It is three times eight. <answer>24</answer>"
    assert score("r1_scenarios", response, SUM, finished=False).total == 0


# ---------------------------------------------------------------- any text at all

PIECES = st.lists(
    st.one_of(
        st.sampled_from([*TAGS, r"\boxed{", "{", "}", " ", "\n", "is a knight", "(", "**"]),
        st.text(st.characters(blacklist_categories=["Nd"]), max_size=6),
    ),
    max_size=16,
).map("".join)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(st.text(), PIECES),
    st.sampled_from([MAKE_24, SUM, PEOPLE, data("24"), maths("24")]),
    st.booleans(),
)
@example("\ud800</think><answer>\ud800</answer>", SUM, True)
@example("</think><answer>\x00</answer>", MAKE_24, True)
def test_random_text_never_raises_and_never_earns_accuracy(text, problem, finished):
    assume("24" not in text)
    allowed = {
        "r1": {0, 1},
        "dr_grpo": {0},
        "tinyzero": {0, 0.1},
        "simplerl": {-1, -0.5},
        "logic_rl": {-3, -1, -0.5},
    }
    for name in RULES:
        got = score(name, text, problem, finished)
        assert got.accuracy == 0 and got.total in allowed[name] and got.why
        assert all(type(value) is float for value in (got.total, got.accuracy, got.format))


@settings(max_examples=100, deadline=None)
@given(PIECES, PIECES)
def test_an_answer_that_is_read_is_checked_the_same_from_its_normal_form(before, inside):
    response = f"{before}</think> <answer>{inside}</answer>"
    reading, normal = read_response(response), extract_answer(response)
    assert (reading.answer is None) == (normal is None)
    if normal is not None:
        assert normal == " ".join(normal.split()) and normal
        assert check(reading.answer, data("24")) == check(normal, data("24"))


def slow_boxes(text):
    """Every balanced box as (start, what it holds, end), scanned with no bound and no shortcut."""
    found = []
    for start in range(len(text)):
        if not text.startswith("\\boxed{", start):
            continue
        depth = 0
        for i in range(start + 6, len(text)):
            if text[i] in "{}" and text[i - 1] != "\\":
                depth += 1 if text[i] == "{" else -1
                if depth == 0:
                    found.append((start, text[start + 7 : i], i))
                    break
    return found


def slow_box(text):
    """The reference: the outermost box around the last one, without boxes that hold all of it."""
    boxes = slow_boxes(text)
    if not boxes:
        return None
    last = boxes[-1]
    around = [box for box in boxes if box[0] <= last[0] and box[2] >= last[2]]
    held = around[0][1]
    while True:
        whole = [box for box in slow_boxes(held) if box[0] == 0 and box[2] == len(held) - 1]
        if not whole:
            return held
        held = whole[0][1]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["\\boxed{", "{", "}", "\\{", "\\}", "x", "7"]), max_size=14).map(
        "".join
    )
)
@example("\\boxed{{\\boxed{7}")
def test_the_last_balanced_box_as_the_slow_reference_finds_it(text):
    assert last_boxed(text) == slow_box(text)


# ---------------------------------------------------------------- bounded time

MEGA = 1_000_000
HUGE = {  # about a megabyte each
    "round brackets": "(" * MEGA,
    "brackets in an answer": tagged("(" * MEGA),
    "braces": "{" * MEGA,
    "boxed braces": r"\boxed{" + "{" * MEGA,
    "boxed balanced braces": r"\boxed{" + "{" * (MEGA // 2) + "}" * (MEGA // 2) + "}",
    "closing braces": r"\boxed{24" + "}" * MEGA,
    "boxes": r"\boxed{" * (MEGA // 7),
    "boxes, the last closed": r"\boxed{" * (MEGA // 7) + "24}",
    "boxes, then a brace": r"\boxed{{" * (MEGA // 8) + "}",
    "boxes that never close": r"\boxed{{}" * (MEGA // 9),
    "long boxes that never close": (r"\boxed{" + "{}" * 990) * (MEGA // 2000),
    "answers": "<answer>" * (MEGA // 8),
    "answer ends": "</answer>" * (MEGA // 9),
    "answers after thinking": "a</think>" + "<answer>" * (MEGA // 8),
    "whole answers": "a</think>" + "<answer>1</answer>" * (MEGA // 18),
    "boxes in answers": tagged(r"\boxed{" * (MEGA // 7)),
    "thinks": "<think>" * (MEGA // 7),
    "think ends": "</think>" * (MEGA // 8),
    "half tags": "<" * MEGA,
    "digits": tagged("9" * MEGA),
    "sums": tagged("1+" * MEGA),
    "powers": tagged("9**" * (MEGA // 3)),
    "spaces": tagged(" " * MEGA),
    "words": tagged("a " * (MEGA // 2)),
    "claims": tagged("Ava is a knight, " * (MEGA // 17)),
    "backslashes": tagged("\\" * MEGA),
    "long thinking": tagged("24", "x " * (MEGA // 2)),
}
RIGHT_FOR_24 = (
    "closing braces",
    "boxes, the last closed",
    "long thinking",
)  # only some of the problems ask for 24


@pytest.mark.parametrize("kind", HUGE)
def test_a_megabyte_takes_under_a_second(kind):
    """Processor time, best of three: the wall clock of a busy machine says little."""
    for problem in (MAKE_24, SUM, PEOPLE, data("24"), maths("24")):
        taken = []
        for _ in range(3):
            start = time.process_time()
            got = score("logic_rl", HUGE[kind], problem)
            taken.append(time.process_time() - start)
            if taken[-1] < 1:
                break
        assert min(taken) < 1, f"{kind}, {problem.task}: {min(taken):.3f} s"
        assert got.accuracy == float(
            kind in RIGHT_FOR_24 and problem in (SUM, data("24"), maths("24"))
        )


def test_answers_at_their_longest_take_no_time():
    rng = random.Random(0)
    start = time.process_time()
    for problem in (MAKE_24, SUM, PEOPLE, data("24")):
        for alphabet in ("9*", "9/1-", "()", "1+", "Ava is a knight, ", "$9,%."):
            check("".join(rng.choices(alphabet, k=longest(problem.task))), problem)
    check("*".join(["999999999"] * 20), countdown(*[999999999] * 20, target=1))
    assert time.process_time() - start < 0.1


# ---------------------------------------------------------------- with the published holes


def paid(response, *numbers, target):
    return score("tinyzero-original", response, countdown(*numbers, target=target)).total


@pytest.mark.parametrize(
    "answer, numbers, target, pays",
    [
        ("2**3", (2, 3), 8, 1),
        ("7//2", (2, 7), 3, 1),
        ("1.5*2", (1, 2, 5), 3, 1),
        ("-2+5", (2, 5), 3, 1),
        ("-2**2+3*4", (2, 2, 3, 4), 8, 1),  # the power first
        ("2**-1*8", (1, 2, 8), 4, 1),
        ("2**2**3", (2, 2, 3), 256, 1),  # from the right
        ("(1+1/3)*3", (1, 1, 3, 3), 4, 1),
        ("1/49*49", (1, 49, 49), 1, 1),  # 0.9999999999999999 there
        ("100001/100000", (100001, 100000), 1, 0.1),  # off by 1e-5
        (".5*2", (2, 5), 1, 1),
        ("2+3", (2, 3, 4), 5, 0.1),  # not all of the numbers
        ("2+3", (2, 3), 6, 0.1),
        ("2+03", (2, 3), 5, 0.1),  # no number to Python
        ("1/0", (0, 1), 1, 0.1),
        ("2(3)", (2, 3), 6, 0.1),
        ("2*3)", (2, 3), 6, 0.1),
        ("(2*3", (2, 3), 6, 0.1),
        ("2*", (2,), 2, 0.1),
        ("9**9**9", (9, 9, 9), 1, 0.1),  # hangs theirs
        ("9**(9**9)/9**(9**9)", (9,) * 6, 1, 0.1),
        ("2e0*3", (0, 2, 3), 6, 0.1),
        ("", (2,), 2, 0.1),
    ],
)
def test_tinyzeros_own_arithmetic(answer, numbers, target, pays):
    assert paid(f"<answer>{answer}</answer>", *numbers, target=target) == pays


def test_tinyzeros_own_rule_reads_the_last_answer_of_the_last_line():
    assert paid("<answer>2+3</answer> <answer>2*3</answer>", 2, 3, target=6) == 1
    assert paid("<answer>2*3</answer> <answer>2+3</answer>", 2, 3, target=6) == 0.1
    assert paid("<answer>2*3</answer>\n", 2, 3, target=6) == 0
    assert paid("<answer>2*3", 2, 3, target=6) == 0
    assert paid("<answer>5 <answer>2*3</answer>", 2, 3, target=6) == 0.1  # from the first tag on


def test_logic_rls_own_rule():
    def pays(response):
        return score("logic_rl-original", response, PEOPLE).total

    right = "Ava is a knight, Ben is a knave, Zoey is a knight"
    assert pays(f"</think><answer>{right}</answer>") == 3
    assert pays(f"a </think> b <answer>I say: {right}!</answer> c") == 3
    assert pays(f"a</think><answer>{right}. Ben is no knave</answer>") == -1  # four roles
    assert pays(f"a</think><answer>{right.replace('Ben', 'Bea')}</answer>") == -1
    assert pays(f"a</think><answer>{right.replace('knave', 'knight')}</answer>") == -0.5
    assert pays(f"a</think><answer>{right.upper()}</answer>") == 3
    assert pays("a</think><answer></answer>") == -1
    for broken in (
        f"<think>a</think><answer>{right}</answer>",
        f"a<answer>{right}</answer>",
        f"<answer>{right}</answer></think>",
        f"a</think></answer>{right}<answer>",
        f"a</think><answer>{right}</answer><answer>{right}</answer>",
    ):
        assert pays(broken) == -3


@pytest.mark.parametrize("name, problem", [("tinyzero", MAKE_24), ("logic_rl", PEOPLE)])
def test_a_published_rule_pays_what_was_cut_off_and_its_accuracy_is_everybodys(name, problem):
    answer = "2*3*4" if name == "tinyzero" else PEOPLE_RIGHT
    original = f"{name}-original"
    assert name in REWARDS and original not in REWARDS and original in NAMES
    cut_off = score(original, tagged(answer), problem, finished=False)
    assert (cut_off.total, cut_off.accuracy) == (BEST[name], 0.0)
    assert "length limit" in cut_off.why
    assert score(original, tagged(answer), problem).accuracy == 1.0
    hedged = f"{tagged('nothing')} <answer>{answer}</answer>"
    assert score(original, hedged, problem).accuracy == 0.0  # two answers, whatever they earn


def test_a_published_rule_reads_one_task():
    with pytest.raises(UserError, match="tinyzero-original reads answers to countdown alone"):
        score("tinyzero-original", "x", PEOPLE)
    with pytest.raises(UserError, match="logic_rl-original reads answers to kk alone"):
        train.TrainConfig(reward="logic_rl-original", task="countdown:3")
    with pytest.raises(UserError, match="tinyzero-original reads answers to countdown alone"):
        train.TrainConfig(reward="tinyzero-original", data="rows.jsonl", task="math")
    train.TrainConfig(reward="logic_rl-original", task="kk:3-7")
    with pytest.raises(UserError, match="unknown reward 'x': choose .*logic_rl-original"):
        score("x", "", PEOPLE)


@pytest.mark.parametrize("name", ORIGINALS)
def test_a_published_rule_costs_bounded_time(name):
    problem = MAKE_24 if name.startswith("tinyzero") else PEOPLE
    for text in (
        "<answer>" * 10**5,
        "<answer></answer>" * 10**5,
        tagged("(" * 10**6),
        tagged("2**" * 60 + "2"),
        tagged("-" * 190 + "2"),
        tagged("Ava is a " * 10**5),
        tagged("Ava" + " " * 10**6 + "knight knave knight"),
        tagged("9" * 10**6),
    ):
        began = time.process_time()
        score(name, text, problem)
        assert time.process_time() - began < 1

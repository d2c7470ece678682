"""Each rule counts what it says it counts, and leaves alone what only looks like it."""

import time

import pytest

import tasks
from evaluation import behaviour
from evaluation.behaviour import KEYWORDS, candidates, count, first_right

COUNTDOWN = tasks.Problem("countdown", "", "", "", {"numbers": (3, 5, 12), "target": 24})
MATHS = tasks.Problem("math", "", "35", "")

# behaviour: (texts with one occurrence each, texts with none)
EXAMPLES = {
    "reflection": (
        [
            "Let me recheck.",
            "Rechecking gives 4.",
            "I should double-check that.",
            "We go over the steps.",
            "Think again!",
            "让我重新检查。",
            "再想想",
            "我们再次验证结果",
            "需要复查",
        ],
        [
            "I check the box.",
            "We think it is 4.",
            "Examine the graph.",
            "A double check of nothing",
            "verify it",
            "检查站在前面",
            "重新开始",
            "再见",
            "答案是5",
        ],
    ),
    "verification": (
        [
            "Let me check: 2+2.",
            "Let's verify this.",
            "We can check that 3 divides 12.",
            "So we verify by substitution.",
            "Checking our result.",
            "To verify, add them.",
            "Plugging x = 2 back into the original equation",
            "Substitute it back to the problem.",
            "3*5 = 15, which is not 24.",
            "7+3=10 (not 24)",
            "That is 12*3 = 36, too high",
            "20-13=7 no",
            "23-10=13 yes</think>",
            "Zoey says true yes",
        ],
        [
            "She writes a check for $20.",
            "The check is in the mail.",
            "Is 7 prime? yes",
            "Say no.",
            "A checkerboard has 64.",
            "x = 5, not y",
            "The theorem was verified by Euler.",
            "Go back.",
            "Substitute x back into (1).",
            "7-3=4",
        ],
    ),
    "backtracking": (
        [
            "Let me go back to step 2.",
            "I need to go back to the original equation.",
            "Let's go back and check.",
            "We should go back.",
            "I have to go back to where I split it.",
            "I'll start over.",
            "We should try again.",
            "That doesn't work.",
            "This won't work, so",
            "Wait, that's not right.",
            "wait, I forgot it: that is wrong",
            "A dead end.",
            "I made a mistake.",
            "I made a sign error.",
            "4*12=48 no\n7-3=4",
            "Zoey says true no\ntry Zoey knave",
        ],
        [
            "Aya goes back to the shop.",
            "I need to go back to the store.",
            "We have to go back to school on Monday",
            "We can go back home by bus",
            "Let's go back to the store where we bought it.",
            "They try again tomorrow.",
            "Wait for 5 minutes.",
            "4*12=48 no</think> <answer>",
            "4*12=48 yes\n7-3=4",
            "It works.",
            "The clock doesn't stop.",
            "He made a mistake.",
            "no\n7-3=4",
        ],
    ),
    "subgoals": (
        [
            "Step 1: factor.",
            "**Step 12** add",
            "First, we find x.",
            "Next, let's compute the sum.",
            "Now I need to solve it.",
            "Then we'll determine y.",
            "The first step is to factor.",
            "Our goal is to win. Our next goal is to add.",
            "Let us break it down into cases.",
            "breaking the problem into two parts",
        ],
        [
            "The first step of the stairs",
            "First come, first served.",
            "Then Bob finds a coin.",
            "We break it.",
            "in step with 3",
            "She then calculates.",
            "First prize",
            "a two-step 3",
        ],
    ),
    "backward": (
        [
            "Working backwards from 24.",
            "We work backward.",
            "Starting from the target, divide.",
            "Start with the answer.",
            "To get 24, I need 2 more.",
            "to reach the target we would need 8",
            "It suffices to show that x > 0.",
        ],
        [
            "He walks backwards.",
            "Starting from 5.",
            "To get 24 candies Bob pays.",
            "The target is 24.",
            "24 is enough",
        ],
    ),
    "switches": (
        [
            "5.\nAlternatively, try it.",
            "It fails. Another approach: add.",
            "No. Wait, alternatively use 5.",
            "x\nBut maybe another way is",
            "So.\nLet me try 3*7.",
            "Hm. Instead, add.",
            "Hm! We could try 5.",
        ],
        [
            "Alternatively, add.",
            "<think>\nLet me try 3*7.",
            "We can alternatively add.",
            "There is another way out.",
            "one. Instead of 5 it is 6.",
            "I would let me try",
        ],
    ),
}


def test_every_behaviour_has_examples():
    assert EXAMPLES.keys() == behaviour.RULES.keys() == count("").keys()


@pytest.mark.parametrize(
    "name,text", [(name, text) for name, (texts, _) in EXAMPLES.items() for text in texts]
)
def test_a_rule_counts_its_behaviour_once(name, text):
    assert count(text)[name] == 1 and count(f"{text}\nThen.\n{text}")[name] >= 2


@pytest.mark.parametrize(
    "name,text", [(name, text) for name, (_, texts) in EXAMPLES.items() for text in texts]
)
def test_a_rule_leaves_alone_what_only_looks_like_it(name, text):
    assert count(text)[name] == 0


def test_all_fifteen_keywords_count():
    assert len(KEYWORDS) == len(set(KEYWORDS)) == 15
    for word in KEYWORDS:
        assert count(f"I {word.upper()} it.")["reflection"] == 1


def test_the_target_written_out_chains_backward_in_countdown():
    assert count("24 = 12*2\n8=24/3", COUNTDOWN)["backward"] == 1
    for text, problem in (
        ("24 = 12*2", None),
        ("12*2=24", COUNTDOWN),
        ("124 = 12", COUNTDOWN),
        ("24 = x", COUNTDOWN),
    ):
        assert count(text, problem)["backward"] == 0


def test_a_search_of_the_embedded_base_checks_each_try_and_goes_back_after_each_but_the_last():
    search = "5+3=8\n8+12=20 no\n5-3=2\n2+12=14 no\n2*12=24 yes</think> <answer>12*(5-3)</answer>"
    guess = "5+3=8\n8+12=20</think> <answer>(5+3)+12</answer>"
    found = count(search, COUNTDOWN)
    assert (found.pop("verification"), found.pop("backtracking")) == (3, 2) and not any(
        found.values()
    )
    assert not any(count(guess, COUNTDOWN).values())
    gave_up = "5+3=8\n8+12=20 no</think> <answer>(5+3)+12</answer>"
    assert count(gave_up)["verification"] == 1 and count(gave_up)["backtracking"] == 0


# ---------------------------------------------------------------- the first right answer


@pytest.mark.parametrize(
    "text,until",
    [
        (
            "So x = 35. Wait, check: 30+5 = 35.",
            "So x = 35. Wait, check: 30+5 = 35.",
        ),  # what a line comes to, at its end
        ("x = 35\nAgain: x = 35\n\\boxed{35}", "x = 35"),
        ("= 7*5\nthen \\boxed{35} and \\boxed{35}", "= 7*5"),
        ("a \\boxed{34} b \\boxed{35} c \\boxed{35}", "a \\boxed{34} b \\boxed{35}"),
        ("The answer is $35$. So \\boxed{35}", "The answer is $35$"),
        ("Answer: 34. The answer is 35.", "Answer: 34. The answer is 35"),
        ("35 it is</think> <answer>35</answer>", "35 it is</think> <answer>35"),
        ("\\( x = 35 \\)\nmore", "\\( x = 35 \\)"),
        ("$y = 35$.\nmore", "$y = 35$."),
        ("7*5=35 yes\nmore", "7*5=35"),
        ("thirty-five is right", "thirty-five is right"),
    ],
)  # no rule finds it: all of the response
def test_where_the_first_right_answer_of_a_maths_response_ends(text, until):
    assert text[: first_right(text, MATHS)] == until


@pytest.mark.parametrize(
    "text,until",
    [
        ("12*2=24\n12*(5-3)=24 yes</think> <answer>12*(5-3)</answer>", "12*2=24\n12*(5-3)"),
        ("Try (5 - 3) × 12 = 24. Also 12*(5-3)", "Try (5 - 3) × 12 "),
        ("12*5-3 then 12*(5-3)", "12*5-3 then 12*(5-3)"),
        (
            "5-3=2\n2*12=24</think> <answer>12*(5-3)</answer>",
            "5-3=2\n2*12=24</think> <answer>12*(5-3)",
        ),
    ],
)
def test_in_countdown_a_whole_expression_is_the_first_right_answer(text, until):
    assert text[: first_right(text, COUNTDOWN)] == until


def test_a_bounded_number_of_different_answers_is_graded(monkeypatch):
    text = "\n".join(f"x = {i}" for i in range(1000)) + "\nx = 7\nx = 7"
    assert [answer for _, answer in candidates(text, MATHS)] == [
        str(i) for i in range(behaviour.MOST_CANDIDATES)
    ]
    calls = []
    monkeypatch.setattr(behaviour, "check", lambda *a: calls.append(a) or (False, True, ""))
    assert first_right(text, MATHS) == len(text) and len(calls) == behaviour.MOST_CANDIDATES


def test_countdown_expressions_over_other_numbers_use_up_no_tries():
    text = "\n".join(f"{i}+{i}={2 * i}" for i in range(1000)) + "\n12*(5-3)"
    assert candidates(text + "\nmore", COUNTDOWN) == [(len(text), "12*(5-3)")]


@pytest.mark.parametrize(
    "part",
    [
        "(",
        "= ",
        "answer ",
        "\\boxed{",
        "wait ",
        "let me ",
        "=5 no\n",
        "to get 5 ",
        "1+",
        "\n ",
        "a: \n",
        "substitute ",
        "answer:" + " " * 50,
    ],
)
def test_cost_is_linear_in_the_text(part):
    def seconds(size):
        text, began = (part * (size // len(part) + 1))[:size] + ".", time.process_time()
        count(text, COUNTDOWN), candidates(text, MATHS), candidates(text, COUNTDOWN)
        return time.process_time() - began

    # Fifty times the text, with a tenfold margin; quadratic would be 2,500 times the cost.
    assert seconds(200_000) < 10 * 50 * seconds(4_000)

"""Problems with ground truth, and the prompt templates that wrap them.

A `Problem` is a question, one right answer, and a `key`: the identity that survives renaming, reordering and
rewording. The key's hash decides whether a problem is for training or held out, so the two can never overlap,
whatever the seed. The generators draw until they hit the split that was asked for.

Left out on purpose: curricula, weights between tasks, anything a model has to judge.
"""
import hashlib
import itertools
import random
import sys
from dataclasses import dataclass, field

from config import Refusal
from tasks import files

SPLITS = ("train", "held-out")
PATIENCE = 20_000  # draws in a row without a new problem of the wanted split, before the task counts as exhausted
LARGEST = 100  # generated problems stay within 0..100: the embedded base has one token for each of these numbers


@dataclass(frozen=True)
class Problem:
    task: str  # countdown | kk | arithmetic | data | math: which checker in reward.py reads the answer
    question: str  # what a template wraps
    answer: str  # one right answer, written as it would stand between the answer tags
    key: str  # identity: equal keys are the same problem
    facts: dict = field(default_factory=dict, compare=False)  # ground truth, see the generators


def split_of(key: str) -> str:
    """Which side of the fence a problem is on: one in ten is held out, decided by its identity alone."""
    return SPLITS[hashlib.sha256(key.encode()).digest()[0] % 10 == 0]


# ---------------------------------------------------------------- countdown

def steps(a: int, b: int) -> list[tuple[str, int]]:
    """The moves of Countdown on two positive integers, as (text, value) with a value that is again a positive integer.

    The larger number stands first where order matters, so nothing negative or fractional ever appears. There is always
    one: the difference, or 1 as the quotient of equal numbers.
    """
    hi, lo = max(a, b), min(a, b)
    moves = [(f"{a}+{b}", a + b)]
    if hi > lo:
        moves.append((f"{hi}-{lo}", hi - lo))
    moves.append((f"{a}*{b}", a * b))
    if hi % lo == 0:
        moves.append((f"{hi}/{lo}", hi // lo))
    return [(text, value) for text, value in moves if value <= LARGEST]


def combine(x: tuple[str, int], y: tuple[str, int], move: str) -> str:
    """The expression of a move: `move` names two values, `x` and `y` are the (expression, value) that stand for them."""
    operator = next(c for c in move if c in "+-*/")
    if int(move.split(operator)[0]) != x[1]:
        x, y = y, x
    left, right = (e if e.isdigit() else f"({e})" for e in (x[0], y[0]))
    return left + operator + right


def countdown(rng: random.Random, size: int = 3) -> Problem:
    """`size` numbers from 1 to 20 and a target from 1 to 100 that uses each exactly once: solvable by construction.

    facts: numbers (tuple of int), target (int). Key: the numbers in order of size, and the target.
    """
    numbers = (0,)
    while len(set(numbers)) == 1:  # all equal is no puzzle
        numbers = tuple(rng.randint(1, 20) for _ in range(size))
        pool = [(str(n), n) for n in numbers]
        while len(pool) > 1:  # a random expression: join two values by a random legal move until one is left
            x, y = (pool.pop(rng.randrange(len(pool))) for _ in range(2))
            move, value = rng.choice(steps(x[1], y[1]))
            pool.append((combine(x, y, move), value))
    expression, target = pool[0]
    listed = ", ".join(map(str, numbers[:-1])) + f" and {numbers[-1]}"
    return Problem("countdown", f"Using {listed} exactly once each, make {target} with + - * /.", expression,
                   f"countdown {sorted(numbers)} {target}", {"numbers": numbers, "target": target})


# ---------------------------------------------------------------- knights and knaves

NAMES = ("Ava", "Ben", "Chloe", "David", "Emma", "Felix", "Grace", "Henry", "Ivy", "Jack", "Lily", "Mason", "Nora",
         "Oliver", "Penelope", "Riley", "Sofia", "Theo", "Violet", "Zoey")


def statement(rng: random.Random, size: int, speaker: int) -> tuple:
    """What `speaker` says, as a tree: ("is", person, knight?) or ("not", s), ("and" | "or" | "if" | "iff", s, s)."""
    def leaf():
        while True:
            person, knight = rng.randrange(size), rng.random() < 0.5
            if person != speaker or knight:  # nobody can say "I am a knave"
                return ("is", person, knight)
    kind = rng.choice(("is", "not", "and", "or", "if", "iff"))
    if kind == "is":
        return leaf()
    if kind == "not":
        return ("not", leaf())
    left = right = leaf()
    while right == left:
        right = leaf()
    return (kind, left, right)


def holds(said: tuple, knights: tuple[bool, ...]) -> bool:
    """Whether a statement is true when `knights[i]` tells if person i is a knight."""
    kind, *parts = said
    if kind == "is":
        return knights[parts[0]] == parts[1]
    values = [holds(part, knights) for part in parts]
    return {"not": lambda: not values[0], "and": lambda: all(values), "or": lambda: any(values),
            "if": lambda: not values[0] or values[1], "iff": lambda: values[0] == values[1]}[kind]()


def consistent(statements: tuple, knights: tuple[bool, ...]) -> bool:
    """A knight's statement is true and a knave's is false, for everybody at once."""
    return all(holds(said, knights) == knights[i] for i, said in enumerate(statements))


def wording(said: tuple, names: tuple[str, ...]) -> str:
    kind, *parts = said
    if kind == "is":
        return f"{names[parts[0]]} is a {'knight' if parts[1] else 'knave'}"
    texts = [wording(part, names) for part in parts]
    return {"not": "it is not so that {0}", "and": "{0} and {1}", "or": "{0} or {1}", "if": "if {0} then {1}",
            "iff": "{0} if and only if {1}"}[kind].format(*texts)


def knights_and_knaves(rng: random.Random, size: int | None = None) -> Problem:
    """`size` people (2 or 3 if not given), one statement each, exactly one consistent assignment by brute force.

    facts: names, knights (tuple of bool), statements (trees). Key: the statements with people as numbers, so a
    puzzle keeps its identity when it is told about other people.
    """
    n = size or rng.choice((2, 3))
    while True:
        statements = tuple(statement(rng, n, i) for i in range(n))
        solutions = [k for k in itertools.product((True, False), repeat=n) if consistent(statements, k)]
        if len(solutions) == 1:
            break
    names, knights = tuple(rng.sample(NAMES, n)), solutions[0]
    told = " ".join(f"{names[i]} says: {wording(said, names)}." for i, said in enumerate(statements))
    question = ("Knights always tell the truth and knaves always lie. You meet "
                f"{', '.join(names[:-1])} and {names[-1]}. {told} Who is a knight and who is a knave?")
    return Problem("kk", question, identities(names, knights), f"kk {statements}",
                   {"names": names, "knights": knights, "statements": statements})


def identities(names: tuple[str, ...], knights: tuple[bool, ...]) -> str:
    """The answer in the form that Logic-RL's prompt asks for, one person a line."""
    return "\n".join(f"({i + 1}) {name} is a {'knight' if knight else 'knave'}"
                     for i, (name, knight) in enumerate(zip(names, knights)))


# ---------------------------------------------------------------- arithmetic

def arithmetic(rng: random.Random, size: int = 3) -> Problem:
    """An expression of `size` numbers from 1 to 20, every intermediate value a whole number from 1 to 100.

    facts: moves, the list of (text, value) in the order in which they are computed. Key: the expression.
    """
    pool, moves = [(str(n), n) for n in (rng.randint(1, 20) for _ in range(size))], []
    while len(pool) > 1:
        i = rng.randrange(len(pool) - 1)  # neighbours, so that the expression reads in the order it was drawn
        x, y = pool[i], pool[i + 1]
        move, value = rng.choice(steps(x[1], y[1]))
        pool[i:i + 2] = [(combine(x, y, move), value)]
        moves.append((move, value))
    expression, value = pool[0]
    return Problem("arithmetic", f"What is {expression}?", str(value), f"arithmetic {expression}", {"moves": moves})


# ---------------------------------------------------------------- drawing and reading problems

# name: (function of a random.Random and a size, smallest size, largest size)
GENERATORS = {"countdown": (countdown, 2, 6), "kk": (knights_and_knaves, 2, 8), "arithmetic": (arithmetic, 2, 6)}


def generator(task: str):
    """The function of a random.Random that draws problems of `name`, `name:size` or `name:from-to`.

    A range draws a size for each problem, all as often. Refusal names what is wrong.
    """
    name, _, size = task.partition(":")
    sizes = size.split("-") if size else []
    if name == "math":
        raise Refusal("task 'math' has no generator: give it problems with --data (a JSONL file)")
    if name not in GENERATORS or len(sizes) > 2 or not all(part.isdecimal() for part in sizes):
        raise Refusal(f"unknown task {task!r}: choose {', '.join(GENERATORS)}, with a size if you like "
                      "(countdown:4, kk:3-7), or math with --data")
    function, low, high = GENERATORS[name]
    if not sizes:
        return function
    first, last = int(sizes[0]), int(sizes[-1])
    if not low <= first <= last <= high:
        raise Refusal(f"task {task!r}: the size of {name} goes from {low} to {high}")
    return lambda rng: function(rng, first if first == last else rng.randint(first, last))


def draw(task: str, split: str, seed: str | int, n: int) -> list[Problem]:
    """`n` different problems of one split, a pure function of its arguments.

    Refusal if the task has too few: PATIENCE draws in a row brought nothing new.
    """
    new, rng, found, misses = generator(task), random.Random(f"{task}/{split}/{seed}"), {}, 0
    while len(found) < n:
        problem = new(rng)
        if problem.key in found or split_of(problem.key) != split:
            misses += 1
            if misses > PATIENCE:
                raise Refusal(f"task {task!r} has only about {len(found)} different {split} problems, not {n}")
            continue
        found[problem.key], misses = problem, 0
    return list(found.values())


def read_rows(path: str, question_field: str = "", answer_field: str = "", task: str = "math",
              levels: tuple[int, ...] = ()) -> list[Problem]:
    """The problems of a JSONL file or JSON array in file order, of these levels if any are given.

    Fields that are not named are found (jsonl.py). Maths rows with an empty or null answer are passed over aloud, in any
    other task they are refused. Refusal names the line and what is wrong with it, or says that there are no levels.
    """
    problems, without, known = [], [], set()
    for where, row in files.rows(path):
        question, answer = files.question_of(row, question_field, where), files.answer_of(row, answer_field, where)
        answer = files.without_dollars(answer) if task == "math" else answer
        if not answer and task != "math":
            raise files.no_text(where, (answer_field,) if answer_field else files.ANSWERS, row)
        facts = files.facts_of(row)
        known.add(facts.get("level"))
        if not answer:
            without.append(where.removeprefix(f"{path}, "))
        elif not levels or facts.get("level") in levels:
            key = "data " + " ".join(question.lower().split())  # spacing and case do not make a new problem
            problems.append(Problem(task, question, answer, key, facts))
    if levels and known <= {None}:
        raise Refusal(f"{path}: its rows have no level or difficulty: leave out --levels")
    if levels and not problems:
        have = ", ".join(f"{level:g}" for level in sorted(known - {None}))
        raise Refusal(f"{path}: no problem of level {', '.join(map(str, levels))} (have: {have})")
    if without:
        more = f" and {len(without) - 5} more" if len(without) > 5 else ""
        print(f"{path}: passed over, without an answer: {', '.join(without[:5])}{more}", file=sys.stderr)
    return problems


def read_jsonl(path: str, question_field: str = "", answer_field: str = "", task: str = "data",
               levels: tuple[int, ...] = ()) -> dict[str, list[Problem]]:
    """The different problems of a file as {"train": [...], "held-out": [...]}; a question decides its side."""
    sides = {split: {} for split in SPLITS}
    for problem in read_rows(path, question_field, answer_field, task, levels):
        sides[split_of(problem.key)][problem.key] = problem
    for split, found in sides.items():
        if not found:
            raise Refusal(f"{path}: no problem falls on the {split} side (one in ten is held out): too few lines")
    return {split: list(found.values()) for split, found in sides.items()}


def batch(source: str | list[Problem], seed: int, step: int, n: int) -> list[Problem]:
    """The `n` training problems of one step, a pure function of seed and step: a resumed run draws the same.

    A list is gone through in a fresh order each epoch; a generated task is drawn anew.
    """
    if isinstance(source, str):
        return draw(source, "train", f"{seed}/{step}", n)
    chosen = []
    for position in range(step * n, (step + 1) * n):
        epoch, i = divmod(position, len(source))
        if i == 0 or not chosen:  # a new order at the start of an epoch
            order = random.Random(f"{seed}/{epoch}").sample(range(len(source)), len(source))
        chosen.append(source[order[i]])
    return chosen


# ---------------------------------------------------------------- prompt templates

# Wording of the published templates: Dr. GRPO (arXiv 2503.20783), R1-Zero (2501.12948, table 1), TinyZero, Logic-RL
# (2502.14768; the missing space after "it." is theirs), SimpleRL-Zoo for weak bases (`simple`,
# 2503.18892). `short` is what the embedded base was trained with.
TEMPLATES = {
    "short": "{question}\n<think>",
    "none": "{question}",
    "simple": "Question:\n{question}\nAnswer:\nLet's think step by step.\n",
    "r1": "A conversation between User and Assistant. The User asks a question, and the Assistant solves it. The "
          "Assistant first thinks about the reasoning process in the mind and then provides the User with the answer. "
          "The reasoning process is enclosed within <think> </think> and answer is enclosed within <answer> </answer> "
          "tags, respectively, i.e., <think> reasoning process here </think> <answer> answer here </answer>.\n"
          "User: {question}\nAssistant: <think>",
    "r1-paper": "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. "
                "The assistant first thinks about the reasoning process in the mind and then provides the user with "
                "the answer. The reasoning process and answer are enclosed within <think> </think> and <answer> "
                "</answer> tags, respectively, i.e., <think> reasoning process here </think> <answer> answer here "
                "</answer>. User: {question}. Assistant:",
    "qwen-math": "<|im_start|>system\nPlease reason step by step, and put your final answer within \\boxed{{}}."
                 "<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n",
    "tinyzero": "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. "
                "The assistant first thinks about the reasoning process in the mind and then provides the user with "
                "the answer.\nUser: Using the numbers {numbers}, create an equation that equals {target}. You can use "
                "basic arithmetic operations (+, -, *, /) and each number can only be used once. Show your work in "
                "<think> </think> tags. And return the final answer in <answer> </answer> tags, for example <answer> "
                "(1 + 2) / 3 </answer>.\nAssistant: Let me solve this step by step.\n<think>",
    "logic-rl": "The user asks a question, and the Assistant solves it.The assistant first thinks about the reasoning "
                "process in the mind and then provides the user with the final answer. The reasoning process and "
                "answer are enclosed within <think> </think> and <answer> </answer> tags, respectively, i.e., <think> "
                "reasoning process here </think><answer> answer here </answer>. Now the user asks you to solve a "
                "logical reasoning problem. After thinking, when you finally reach a conclusion, clearly state the "
                "identity of each character within <answer> </answer> tags. List the identity of each person one by "
                "one, for example, <answer> (1) Zoey is a knight\n(2) Oliver is a knight\n(3)... </answer>.\n\n"
                "User:{question}\nAssistant: <think>",
    "chat": None,  # the tokenizer's own
}
# Kept in the output; elsewhere the stop token alone ends a response. A base that reads `Question: … Answer:` goes on with
# a question of its own, whose answer would then be the last of the response: `simple` stops there.
STOP_STRINGS = {"r1": ("</answer>",), "r1-paper": ("</answer>",), "tinyzero": ("</answer>",),
                "logic-rl": ("</answer>",), "simple": ("Question:",)}


def prompt(problem: Problem, template: str, tokenizer) -> str:
    """The text that the model continues; Refusal if the template does not fit the problem or the tokenizer."""
    if template not in TEMPLATES:
        raise Refusal(f"unknown template {template!r}: choose {', '.join(TEMPLATES)}")
    if template == "chat":
        if not getattr(tokenizer, "chat_template", None):
            raise Refusal("template 'chat': this tokenizer has no chat template; choose another --template")
        return tokenizer.apply_chat_template([{"role": "user", "content": problem.question}], tokenize=False,
                                             add_generation_prompt=True)
    if template == "tinyzero":
        if problem.task != "countdown":
            raise Refusal(f"template 'tinyzero' states Countdown problems, not {problem.task!r}")
        return TEMPLATES[template].format(numbers=list(problem.facts["numbers"]), target=problem.facts["target"])
    return TEMPLATES[template].format(question=problem.question)


def encode(text: str, template: str, tokenizer) -> list[int]:
    """Prompt ids. Special tokens that a text starts with already, as a chat template writes them, are not added twice."""
    written = template == "chat" or (tokenizer.bos_token and text.startswith(tokenizer.bos_token))
    return tokenizer(text, add_special_tokens=not written)["input_ids"]

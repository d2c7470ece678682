"""Prompt templates: what stands around a question before the model continues it.

The wording is that of the published templates; the source stands with each.
"""

from config import UserError
from tasks.problem import Problem

TEMPLATES = {
    # What the embedded base was trained with.
    "short": "{question}\n<think>",
    "none": "{question}",
    # SimpleRL-Zoo, for weak bases (arXiv 2503.18892).
    "simple": "Question:\n{question}\nAnswer:\nLet's think step by step.\n",
    # R1-Zero in the wording of Dr. GRPO (arXiv 2503.20783).
    "r1": (
        "A conversation between User and Assistant. The User asks a question, and the Assistant "
        "solves it. The Assistant first thinks about the reasoning process in the mind and then "
        "provides the User with the answer. The reasoning process is enclosed within <think> "
        "</think> and answer is enclosed within <answer> </answer> tags, respectively, i.e., "
        "<think> reasoning process here </think> <answer> answer here </answer>.\n"
        "User: {question}\n"
        "Assistant: <think>"
    ),
    # R1-Zero (arXiv 2501.12948, table 1).
    "r1-paper": (
        "A conversation between User and Assistant. The user asks a question, and the Assistant "
        "solves it. The assistant first thinks about the reasoning process in the mind and then "
        "provides the user with the answer. The reasoning process and answer are enclosed within "
        "<think> </think> and <answer> </answer> tags, respectively, i.e., <think> reasoning "
        "process here </think> <answer> answer here </answer>. User: {question}. Assistant:"
    ),
    # R1 after its cold start: the thinking, then a summary (arXiv 2501.12948, 2.3.1). The paper
    # gives the form and not the prompt: the wording is ours.
    "r1-summary": (
        "A conversation between User and Assistant. The user asks a question, and the Assistant "
        "solves it. The assistant first thinks about the reasoning process in the mind, in the "
        "language of the question, and then sums up for the user, in one or two sentences, how the "
        "answer is found. The reasoning process is enclosed within <think> </think> and the answer "
        "within <answer> </answer> tags, i.e., <think> reasoning process here </think> summary "
        "here <answer> answer here </answer>.\n"
        "User: {question}\n"
        "Assistant: <think>"
    ),
    # Qwen2.5-Math, as Dr. GRPO has it.
    "qwen-math": (
        "<|im_start|>system\n"
        "Please reason step by step, and put your final answer within \\boxed{{}}.<|im_end|>\n"
        "<|im_start|>user\n"
        "{question}<|im_end|>\n"
        "<|im_start|>assistant\n"
    ),
    # SimpleRL-Zoo, for bases that can follow it (arXiv 2503.18892).
    "qwen-boxed": (
        "<|im_start|>system\n"
        "You are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n"
        "{question}\n"
        "Please reason step by step, and put your final answer within \\boxed{{}}.<|im_end|>\n"
        "<|im_start|>assistant\n"
    ),
    # Jiayi-Pan/TinyZero; for Countdown alone.
    "tinyzero": (
        "A conversation between User and Assistant. The user asks a question, and the Assistant "
        "solves it. The assistant first thinks about the reasoning process in the mind and then "
        "provides the user with the answer.\n"
        "User: Using the numbers {numbers}, create an equation that equals {target}. You can use "
        "basic arithmetic operations (+, -, *, /) and each number can only be used once. Show "
        "your work in <think> </think> tags. And return the final answer in <answer> </answer> "
        "tags, for example <answer> (1 + 2) / 3 </answer>.\n"
        "Assistant: Let me solve this step by step.\n"
        "<think>"
    ),
    # Logic-RL (arXiv 2502.14768); the missing space after "it." is theirs.
    "logic-rl": (
        "The user asks a question, and the Assistant solves it.The assistant first thinks about "
        "the reasoning process in the mind and then provides the user with the final answer. The "
        "reasoning process and answer are enclosed within <think> </think> and <answer> "
        "</answer> tags, respectively, i.e., <think> reasoning process here </think><answer> "
        "answer here </answer>. Now the user asks you to solve a logical reasoning problem. "
        "After thinking, when you finally reach a conclusion, clearly state the identity of each "
        "character within <answer> </answer> tags. List the identity of each person one by one, "
        "for example, <answer> (1) Zoey is a knight\n"
        "(2) Oliver is a knight\n"
        "(3)... </answer>.\n\n"
        "User:{question}\n"
        "Assistant: <think>"
    ),
    # Logic-RL for instruct models, which its data come in; the spaces in it are theirs.
    "logic-rl-instruct": (
        "<|im_start|>system\n"
        "You are a helpful assistant. The assistant first thinks about the reasoning process in "
        "the mind and then provides the user with the answer. The reasoning process and answer "
        "are enclosed within <think> </think> and<answer> </answer> tags, respectively, i.e., "
        "<think> reasoning process here </think><answer> answer here </answer>.  Now the user "
        "asks you to solve a logical reasoning problem. After thinking, when you finally reach a "
        "conclusion, clearly state the identity of each character within <answer> </answer> "
        "tags. i.e., <answer> (1) Zoey is a knight\n"
        "(2) ... </answer>.\n"
        "<|im_end|>\n"
        "<|im_start|>user\n"
        "{question}\n"
        "<|im_end|>\n"
        "<|im_start|>assistant\n"
        "<think>"
    ),
    # The tokenizer's own.
    "chat": None,
}

# Strings that end a response; they are kept in the output. Elsewhere the stop token alone ends it.
# A base that reads `Question: … Answer:` goes on with a question of its own, whose answer would
# then be the last of the response: `simple` stops there.
STOP_STRINGS = {
    "r1": ("</answer>",),
    "r1-paper": ("</answer>",),
    "r1-summary": ("</answer>",),
    "tinyzero": ("</answer>",),
    "logic-rl": ("</answer>",),
    "simple": ("Question:",),
}


def stop_strings(template: str, own: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The strings that end a response: the template's, and those of --stop, each once.

    UserError if one of them is empty.
    """
    if "" in own:
        raise UserError("--stop must not be empty: every text ends in the empty string")
    strings = STOP_STRINGS.get(template, ()) + own
    return tuple(dict.fromkeys(strings))


def prompt(problem: Problem, template: str, tokenizer) -> str:
    """The text that the model continues.

    UserError if the template does not fit the problem or the tokenizer.
    """
    if template not in TEMPLATES:
        raise UserError(f"unknown template {template!r}: choose {', '.join(TEMPLATES)}")
    if template == "chat":
        return chat_prompt(problem, tokenizer)
    if template == "tinyzero":
        if problem.task != "countdown":
            raise UserError(f"template 'tinyzero' states Countdown problems, not {problem.task!r}")
        numbers = list(problem.facts["numbers"])
        return TEMPLATES[template].format(numbers=numbers, target=problem.facts["target"])
    return TEMPLATES[template].format(question=problem.question)


def chat_prompt(problem: Problem, tokenizer) -> str:
    """The question as a user's message in the tokenizer's own chat template.

    A template is a program: it may demand what is not there, or have faults. Then a UserError names
    the tokenizer.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise UserError(
            "template 'chat': this tokenizer has no chat template; choose another --template"
        )
    messages = [{"role": "user", "content": problem.question}]
    if "system" in problem.facts:  # the file has one (fields.py)
        messages.insert(0, {"role": "system", "content": problem.facts["system"]})
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # whatever a program may raise
        raise UserError(
            f"template 'chat': the chat template of {tokenizer.name_or_path} fails on a single "
            f"question from the user ({error}): mend it there, or choose another --template"
        ) from None


def encode(text: str, template: str, tokenizer, vocabulary: int) -> list[int]:
    """Prompt ids, all below `vocabulary`, the number of the model's embeddings.

    Special tokens that a text starts with already, as a chat template writes them, are not added
    twice. What the tokenizer puts behind a text (some put a stop token there) is dropped: the text
    is to be continued. UserError names a token that has no embedding.
    """
    add_special = template != "chat"
    if tokenizer.bos_token and text.startswith(tokenizer.bos_token):
        add_special = False
    found = tokenizer(text, add_special_tokens=add_special, return_special_tokens_mask=True)
    ids = found["input_ids"]
    added = found["special_tokens_mask"]  # 1: the tokenizer's own, not in the text
    while ids and added[len(ids) - 1]:
        ids.pop()
    check_ids(ids, tokenizer, vocabulary)
    return ids


def check_ids(ids: list[int], tokenizer, vocabulary: int) -> None:
    """UserError if the model has no embedding for one of these ids."""
    largest = max(ids, default=0)
    if largest >= vocabulary:
        token = tokenizer.convert_ids_to_tokens(largest)
        raise UserError(
            f"token {token!r} has the id {largest}, but the model has {vocabulary} embeddings: "
            f"tokenizer and model do not belong together ({tokenizer.name_or_path}), or tokens "
            "were added to one and not to the other"
        )


def encode_prompts(
    problems: list[Problem], template: str, tokenizer, vocabulary: int
) -> list[list[int]]:
    """The ids of each problem's prompt, as `encode` gives them."""
    prompts = []
    for problem in problems:
        text = prompt(problem, template, tokenizer)
        prompts.append(encode(text, template, tokenizer, vocabulary))
    return prompts

"""What several questions about one picture cost beside one: on one prefill, one after the other, and apart.

Workload: a network of the published one's proportions with random weights; pictures of noise at 4 crops, 785
tokens of prompt; five questions of 12 new tokens each, which nothing ends early.  All ways are asked in turns
within one run, each time about a picture that nobody has looked at yet.  Beside the seconds stands the CPU's
time, which other work on the machine disturbs less.

    python benchmarks/questions.py                     # 147 million weights
    python benchmarks/questions.py --size full         # the published size, where there is room for 17 GB
    python benchmarks/questions.py --equal             # also: how many answers are those of separate runs
"""

from __future__ import annotations

import argparse
import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import torch

from captiond.phi3v import Decoder, Phi3VForCausalLM, Request, speed

QUESTIONS, NEW_TOKENS, CROPS = 5, 12, 4
WORDS = 24  # tokens of a question behind the picture

Said = list[list[int]]


def questions(model: Phi3VForCausalLM) -> list[list[Request]]:
    """For each of some pictures, five questions that differ from their first word on."""
    found = []
    made = torch.Generator().manual_seed(0)
    for prompt in speed.prompts(model, CROPS):
        first = prompt.request(NEW_TOKENS)
        end = first.spans[-1][1]
        others = [
            torch.cat((first.input_ids[:end], torch.randint(3, 500, (WORDS,), generator=made)))
            for _ in range(QUESTIONS)
        ]
        found.append([replace(first, input_ids=ids) for ids in others])
    return found


def asked(decoder: Decoder, requests: list[Request], slots: int) -> Said:
    left = deque(requests)
    answers = decoder.run(lambda room: [left.popleft() for _ in range(min(room, len(left)))], slots)
    found = {id(request): said.tokens for request, said in answers}
    return [found[id(request)] for request in requests]


def unseen(requests: list[Request]) -> list[Request]:
    """About one picture, as if nobody had looked at it."""
    seen = speed.afresh(requests[0]).seen
    return [replace(request, seen=seen) for request in requests]


def all_ways(model: Phi3VForCausalLM) -> dict[str, Callable[[list[Request]], Said]]:
    one, five, after = (Decoder(model, ()) for _ in range(3))

    def one_by_one(requests: list[Request]) -> Said:
        return [asked(after, [request], 1)[0] for request in unseen(requests)]

    return {
        "one question": lambda requests: asked(one, unseen(requests)[:1], 1),
        "five together": lambda requests: asked(five, unseen(requests), QUESTIONS),
        "five, one after the other": one_by_one,
        "five, a prefill for each": lambda requests: [
            asked(one, unseen([request]), 1)[0] for request in requests
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", choices=speed.SIZES, default="mid")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--equal", action="store_true", help="compare the answers with those of separate runs"
    )
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = speed.random_model(given.size, device, getattr(torch, given.dtype))
    pictures = questions(model)
    ways = all_ways(model)
    for answer in ways.values():
        answer(pictures[0])
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    cpu: dict[str, list[float]] = {way: [] for way in ways}
    said: dict[str, list[Said]] = {way: [] for way in ways}
    for turn in range(given.rounds):
        for way, answer in ways.items():
            speed.waited(device)
            start, start_cpu = time.perf_counter(), time.process_time()
            said[way].append(answer(pictures[turn % len(pictures)]))
            speed.waited(device)
            seconds[way].append(time.perf_counter() - start)
            cpu[way].append(time.process_time() - start_cpu)
    for way in ways:
        found = {"way": way, "seconds": median(seconds[way]), "cpu_seconds": median(cpu[way])}
        for name, taken in (("times", seconds), ("times_by_cpu", cpu)):
            pairs = zip(taken[way], taken["one question"], strict=True)
            found[name] = round(median(mine / one for mine, one in pairs), 2)
        if given.equal and way != "one question":
            both = zip(said[way], said["five, a prefill for each"], strict=True)
            found["equal"] = sum(a == b for mine, alone in both for a, b in zip(mine, alone, strict=True))
            found["of"] = given.rounds * QUESTIONS
        print(json.dumps(found))


if __name__ == "__main__":
    main()

"""Answers to task 1 of exercise 07: the learning rate of a step."""

import bisect
import math

import torch

# ---------------------------------------------------------------------------------------------
# Right ones


def by_a_loop(step, warmup, milestones, gamma):
    factor = 1.0
    for milestone in milestones:
        if step >= milestone:
            factor *= gamma
    if step < warmup:
        factor *= (step + 1) / warmup
    return factor


def by_bisection(step, warmup, milestones, gamma):
    reached = bisect.bisect_right(list(milestones), step)
    return min(step + 1, warmup or 1) / (warmup or 1) * math.pow(gamma, reached)


def by_clipping(step, warmup, milestones, gamma):
    rise = min(1, (1 + step) / max(1, warmup))
    return rise * gamma ** len([m for m in milestones if not step < m])


def as_a_tensor(step, warmup, milestones, gamma):
    reached = (torch.tensor(list(milestones), dtype=torch.float64) <= step).sum()
    rise = torch.tensor((step + 1) / warmup if warmup > 0 else 1.0, dtype=torch.float64).clamp(
        max=1
    )
    return rise * torch.tensor(gamma, dtype=torch.float64) ** reached


def recursive(step, warmup, milestones, gamma):
    if not milestones:
        return 1.0 if step >= warmup else (step + 1) / warmup
    *earlier, last = milestones
    return recursive(step, warmup, earlier, gamma) * (gamma if step >= last else 1)


RIGHT = [by_a_loop, by_bisection, by_clipping, as_a_tensor, recursive]

# ---------------------------------------------------------------------------------------------
# Wrong ones


def reached(step, milestones):
    return sum(step >= m for m in milestones)


def first_at_zero(step, warmup, milestones, gamma):
    rise = step / warmup if step < warmup else 1
    return rise * gamma ** reached(step, milestones)


def one_step_long(step, warmup, milestones, gamma):
    return min(1, (step + 1) / (warmup + 1)) * gamma ** reached(step, milestones)


def without_end(step, warmup, milestones, gamma):
    rise = (step + 1) / warmup if warmup else 1
    return rise * gamma ** reached(step, milestones)


def divides_by_zero(step, warmup, milestones, gamma):
    return min(1, (step + 1) / warmup) * gamma ** reached(step, milestones)


def no_warmup(step, warmup, milestones, gamma):
    return gamma ** reached(step, milestones)


def no_fall(step, warmup, milestones, gamma):
    return min(1, (step + 1) / warmup) if warmup else 1


def squared_rise(step, warmup, milestones, gamma):
    rise = min(1, (step + 1) / warmup) ** 2 if warmup else 1
    return rise * gamma ** reached(step, milestones)


def late(step, warmup, milestones, gamma):
    return by_a_loop(step, warmup, [m + 1 for m in milestones], gamma)


def early(step, warmup, milestones, gamma):
    return by_a_loop(step, warmup, [m - 1 for m in milestones], gamma)


def once(step, warmup, milestones, gamma):
    return by_a_loop(step, warmup, milestones[:1], gamma)


def times(step, warmup, milestones, gamma):
    rise = min(1, (step + 1) / warmup) if warmup else 1
    return rise * gamma * reached(step, milestones)


def times_or_one(step, warmup, milestones, gamma):
    rise = min(1, (step + 1) / warmup) if warmup else 1
    return rise * (gamma * reached(step, milestones) or 1)


def subtracts(step, warmup, milestones, gamma):
    rise = min(1, (step + 1) / warmup) if warmup else 1
    return rise * (1 - gamma * reached(step, milestones))


def grows(step, warmup, milestones, gamma):
    return by_a_loop(step, warmup, milestones, 1 / gamma)


def fixed_half(step, warmup, milestones, gamma):
    return by_a_loop(step, warmup, milestones, 0.5)


def complement(step, warmup, milestones, gamma):
    return by_a_loop(step, warmup, milestones, 1 - gamma)


def smaller(step, warmup, milestones, gamma):
    return min(min(1, (step + 1) / warmup) if warmup else 1, gamma ** reached(step, milestones))


def either_or(step, warmup, milestones, gamma):
    if step < warmup:
        return (step + 1) / warmup
    return gamma ** reached(step, milestones)


def from_the_end_of_warmup(step, warmup, milestones, gamma):
    return by_a_loop(step, warmup, [m + warmup for m in milestones], gamma)


def remaining(step, warmup, milestones, gamma):
    rise = min(1, (step + 1) / warmup) if warmup else 1
    return rise * gamma ** (len(milestones) - reached(step, milestones))


def all_at_once(step, warmup, milestones, gamma):
    rise = min(1, (step + 1) / warmup) if warmup else 1
    return rise * gamma ** len(milestones)


def in_place(step, warmup, milestones, gamma):
    factor = min(1, (step + 1) / warmup) if warmup else 1
    milestones = milestones if isinstance(milestones, list) else list(milestones)
    while milestones and step >= milestones[0]:
        milestones.pop(0)
        factor *= gamma
    return factor


def exact_hit(step, warmup, milestones, gamma):
    factor = min(1, (step + 1) / warmup) if warmup else 1
    return factor * gamma if step in milestones else factor


def from_one(step, warmup, milestones, gamma):
    rise = step / warmup if step < warmup else 1
    return rise * gamma ** sum(step > m for m in milestones)


def two_bugs(step, warmup, milestones, gamma):
    return min(1, (step + 1) / (warmup + 1)) * gamma ** sum(step > m for m in milestones)


def compounding(step, warmup, milestones, gamma):
    factor, current = min(1, (step + 1) / warmup) if warmup else 1, gamma
    for milestone in milestones:
        if step >= milestone:
            factor *= current
            current *= gamma
    return factor


def whole_division(step, warmup, milestones, gamma):
    rise = min(1, (step + 1) // warmup) if warmup else 1
    return rise * gamma ** reached(step, milestones)


def enumerated(step, warmup, milestones, gamma):
    factor = min(1, (step + 1) / warmup) if warmup else 1.0
    power = 0
    for number, milestone in enumerate(milestones):
        if step >= milestone:
            power = number
    return factor * gamma**power


def cosine(step, warmup, milestones, gamma):
    if step < warmup:
        return (step + 1) / warmup
    last = max(milestones, default=100)
    return 0.5 * (1 + math.cos(math.pi * min(1, (step - warmup) / max(1, last - warmup))))


def percent(step, warmup, milestones, gamma):
    return 100 * by_a_loop(step, warmup, milestones, gamma)


def added_up(step, warmup, milestones, gamma):
    rise = min(1, (step + 1) / warmup) if warmup else 1
    return (rise + gamma ** reached(step, milestones)) / 2


def forgets_return(step, warmup, milestones, gamma):
    by_a_loop(step, warmup, milestones, gamma)


def as_text(step, warmup, milestones, gamma):
    return f"{by_a_loop(step, warmup, milestones, gamma):.3f}"


def rounded(step, warmup, milestones, gamma):
    return round(by_a_loop(step, warmup, milestones, gamma), 2)


def counting_calls():
    calls = [0]

    def rate(step, warmup, milestones, gamma):
        calls[0] += 1
        return by_a_loop(calls[0], warmup, milestones, gamma)

    return rate


def returns_in_the_loop(step, warmup, milestones, gamma):
    reached = 0
    for milestone in milestones:
        reached += step >= milestone
        if milestone == milestones[-1]:
            return min(1, (step + 1) / max(1, warmup)) * gamma**reached


WRONG = {
    "return in the loop": ("stand within a loop", returns_in_the_loop),
    "the first step is 0": ("steps count from 0", first_at_zero),
    "warmup + 1": ("one step too many", one_step_long),
    "the rise goes on": ("does not end", without_end),
    "division by zero": ("warm-up of 0 steps", divides_by_zero),
    "no warm-up": ("there is no warm-up", no_warmup),
    "no fall": ("no milestone counts", no_fall),
    "a squared rise": ("straight line", squared_rise),
    "one step late": ("one step late", late),
    "one step early": ("one step early", early),
    "the first milestone only": ("only one milestone", once),
    "gamma times count": ("multiplied by the number", times),
    "gamma times count, or one": ("multiplied by the number", times_or_one),
    "gamma subtracted": ("subtracted", subtracts),
    "the rate grows": ("grows", grows),
    "gamma fixed": ("gamma is fixed", fixed_half),
    "1 - gamma": ("1 - gamma", complement),
    "the smaller of both": ("multiplied", smaller),
    "either rise or fall": ("within the warm-up", either_or),
    "from the warm-up's end": ("from the end of the warm-up", from_the_end_of_warmup),
    "milestones to come": ("still to come", remaining),
    "all milestones at once": ("from the first step", all_at_once),
    "milestones popped": ("milestones is changed in place", in_place),
    "only at the milestone": ("comes back after it", exact_hit),
    "steps from 1": ("counted from 1", from_one),
    "two bugs": ("two things", two_bugs),
    "powers add up": ("gamma ** 3", compounding),
    "whole division": ("// cuts it off", whole_division),
    "enumerate from 0": ("too few", enumerated),
    "a cosine": ("the result is wrong", cosine),
    "percent": ("the result is wrong", percent),
    "the mean of both": ("the mean of the two", added_up),
    "no return": ("nothing is returned", forgets_return),
    "text": ("a string is returned", as_text),
    "rounded": ("rounded", rounded),
    "counts its own calls": ("the result is wrong", counting_calls()),
}

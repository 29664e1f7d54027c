"""Answers to task 2 of exercise 10: the test figure of what validation chose."""

import math

import torch


def means(figures):
    return figures.reshape(len(figures), -1).mean(1)


# ---------------------------------------------------------------------------------------------
# Right


def by_nan_to_num(validation, test):
    best = means(validation).nan_to_num(nan=-math.inf).argmax()
    return means(test)[best].item()


def in_a_loop(validation, test):
    best, highest = None, None
    for place in range(len(validation)):
        figure = float(validation[place].mean())
        if math.isnan(figure):
            continue
        if highest is None or figure > highest:
            best, highest = place, figure
    return float(test[best].mean())


def by_masking(validation, test):
    with torch.no_grad():
        figure = torch.stack([each.mean() for each in validation])
        failed = figure.isnan()
        best = int(torch.where(failed, torch.full_like(figure, -math.inf), figure).argmax())
        return torch.stack([each.mean() for each in test])[best]


def by_sorting(validation, test):
    figure = [sum(row) / len(row) for row in validation.reshape(len(validation), -1).tolist()]
    good = [place for place, each in enumerate(figure) if each == each]
    best = sorted(good, key=lambda place: (-figure[place], place))[0]
    return sum(test.reshape(len(test), -1)[best].tolist()) / test[best].numel()


RIGHT = [by_nan_to_num, in_a_loop, by_masking, by_sorting]

# ---------------------------------------------------------------------------------------------
# Wrong


def chosen(
    validation,
    test,
    figures=means,
    failed=lambda figures: figures.nan_to_num(nan=-math.inf),
    place=torch.argmax,
    reported=lambda test, validation, at: means(test)[at],
):
    return float(reported(test, validation, place(failed(figures(validation)))))


def but(**steps):
    return lambda validation, test: chosen(validation, test, **steps)


def rows(figures):
    return figures.reshape(len(figures), -1)


def test_chooses(validation, test):
    return float(means(test).nan_to_num(nan=-math.inf).max())


def both_choose(validation, test):
    figure = (means(validation) + means(test)).nan_to_num(nan=-math.inf)
    return float(means(test)[figure.argmax()])


def one_entry(validation, test):
    best = rows(validation).nan_to_num(nan=-math.inf).argmax()
    return float(means(test)[best // rows(validation).shape[1]])


def with_seeds_only(validation, test):
    best = validation.mean(dim=1).nan_to_num(nan=-math.inf).argmax()
    return float(test[best].mean())


def in_place(validation, test):
    validation[validation.isnan()] = -math.inf
    return float(means(test)[means(validation).argmax()])


def plain(validation, test):
    return float(means(test)[means(validation).argmax()])


def python_max(validation, test):
    figure = means(validation).tolist()
    return float(means(test)[figure.index(max(figure))])


def with_gradient(validation, test):
    return means(test)[means(validation).nan_to_num(nan=-math.inf).argmax()]


WRONG = {
    "the validation figure": (
        "validation figure is returned",
        but(reported=lambda t, v, at: means(v)[at]),
    ),
    "the largest of the test": ("validation", test_chooses),
    "both": ("both together choose", both_choose),
    "exchanged": ("exchanged", lambda v, t: chosen(t, v)),
    "the place": ("place of the chosen", but(reported=lambda t, v, at: at)),
    "best test seed": ("best seed of the chosen", but(reported=lambda t, v, at: rows(t)[at].max())),
    "first test seed": ("first seed of the chosen", but(reported=lambda t, v, at: rows(t)[at, 0])),
    "sum": ("added up", but(reported=lambda t, v, at: rows(t)[at].sum())),
    "hides what failed": ("left out of the test", but(reported=lambda t, v, at: t[at].nanmean())),
    "luckiest": ("luckiest", but(figures=lambda v: rows(v).amax(1))),
    "one entry": ("luckiest", one_entry),
    "worst seed": ("worst seed", but(figures=lambda v: rows(v).amin(1))),
    "first seed": ("first seed alone", but(figures=lambda v: rows(v)[:, 0])),
    "median": ("median", but(figures=lambda v: rows(v).median(1).values)),
    "forgives": ("failed seeds are left out", but(figures=lambda v: rows(v).nanmean(1))),
    "NaN is 0": ("counts as 0", but(figures=lambda v: means(v.nan_to_num(0)))),
    "NaN wins": ("whose training failed is chosen", plain),
    "Python's max": ("NaN", python_max),
    "failed is 0": ("counts as 0 or so", but(failed=lambda f: f.nan_to_num(0))),
    "failed is -1": ("counts as 0 or so", but(failed=lambda f: f.nan_to_num(-1))),
    "smallest": (
        "smallest",
        but(failed=lambda f: f.nan_to_num(nan=math.inf), place=torch.argmin),
    ),
    "last of ties": (
        "the last is chosen",
        but(place=lambda f: len(f) - 1 - f.flip(0).argmax()),
    ),
    "second best": ("second best", but(place=lambda f: f.argsort(descending=True)[1])),
    "seeds expected": ("dimension", with_seeds_only),
    "rounded": ("wrong", lambda v, t: float(round(chosen(v, t)))),
    "a tensor": ("wrong", lambda v, t: torch.tensor(chosen(v, t)) + 1),
    "a row": ("one number is wanted", lambda v, t: rows(t)[means(v).nan_to_num(-9e9).argmax()]),
    "in place": ("in place", in_place),
    "with a gradient": (".item()", with_gradient),
    "place and figure": ("is (0", lambda v, t: (0, chosen(v, t))),
    "no return": ("nothing is returned", lambda v, t: None),
    "all": ("mean of all", lambda v, t: float(t.nanmean())),
}

"""Answers to task 3 of exercise 00: a loop that trains two heads."""

import torch
import torch.nn.functional as F
from torch import nn


def start(features, generator):
    head = torch.randn(features.shape[1], 128, generator=generator) / features.shape[1] ** 0.5
    return head.to(features)


def plain(image_features, text_features, loss, steps, lr, seed):
    generator = torch.Generator().manual_seed(seed)
    a = start(image_features, generator).requires_grad_()
    b = start(text_features, generator).requires_grad_()
    optimiser = torch.optim.Adam([a, b], lr=lr)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(image_features @ a, text_features @ b).backward()
        optimiser.step()
    return a.detach(), b.detach()


def as_modules(image_features, text_features, loss, steps, lr, seed):
    generator = torch.Generator().manual_seed(seed)
    sides = image_features, text_features
    state = torch.get_rng_state()
    linear = [nn.Linear(f.shape[1], 128, bias=False, dtype=f.dtype) for f in sides]
    torch.set_rng_state(state)
    for each in linear:
        nn.init.normal_(each.weight, std=each.in_features**-0.5, generator=generator)
    optimiser = torch.optim.Adam([p for each in linear for p in each.parameters()], lr)
    for _ in range(steps):
        value = loss(*(each(f) for each, f in zip(linear, sides, strict=True)))
        value.backward()
        optimiser.step()
        optimiser.zero_grad()
    return [each.weight.detach().T for each in linear]


def by_hand(image_features, text_features, loss, steps, lr, seed):
    """Adam written out, with torch.autograd.grad."""
    generator = torch.Generator(device="cpu")
    generator.manual_seed(seed)
    heads = [start(f, generator) for f in (image_features, text_features)]
    mean = [torch.zeros_like(head) for head in heads]
    square = [torch.zeros_like(head) for head in heads]
    for t in range(1, steps + 1):
        heads = [head.requires_grad_() for head in heads]
        value = loss(image_features @ heads[0], text_features @ heads[1])
        gradients = torch.autograd.grad(value, heads)
        for n, gradient in enumerate(gradients):
            mean[n] = 0.9 * mean[n] + 0.1 * gradient
            square[n] = 0.999 * square[n] + 0.001 * gradient**2
            root = (square[n] / (1 - 0.999**t)).sqrt() + 1e-8
            heads[n] = heads[n].detach() - lr * mean[n] / (1 - 0.9**t) / root
    return tuple(head.detach() for head in heads)


def drawn_together(image_features, text_features, loss, steps, lr, seed):
    sizes = [image_features.shape[1], text_features.shape[1]]
    draws = torch.empty(sum(sizes), 128, dtype=image_features.dtype)
    draws.normal_(generator=torch.Generator().manual_seed(seed))
    heads = [nn.Parameter(part * part.shape[0] ** -0.5) for part in draws.split(sizes)]
    optimiser = torch.optim.Adam(({"params": [head]} for head in heads), lr=lr)

    def closure():
        optimiser.zero_grad()
        value = loss(image_features @ heads[0], text_features @ heads[1])
        value.backward()
        return value

    for _ in range(steps):
        optimiser.step(closure)
    return heads[0].data.clone(), heads[1].data.clone()


def noisily(image_features, text_features, loss, steps, lr, seed):
    print("training", steps, "steps")
    return plain(image_features, text_features, loss, steps, lr, seed)


RIGHT = [plain, as_modules, by_hand, drawn_together, noisily]

# ---------------------------------------------------------------------------------------------
# Wrong ones: `loop` with one line changed


def loop(
    made=start,
    given=lambda a, b: [a, b],
    optimiser=torch.optim.Adam,
    emb=lambda f, head: f @ head,
    value=lambda v: v,
    before=lambda o: o.zero_grad(),
    after=lambda o: None,
    count=lambda steps: range(steps),
    order=lambda i, t: (i, t),
    rows=lambda f: f,
    rate=lambda lr: lr,
    end=lambda a, b: (a.detach(), b.detach()),
):
    def train_heads(image_features, text_features, loss, steps, lr, seed):
        generator = torch.Generator().manual_seed(seed)
        a = made(image_features, generator).requires_grad_()
        b = made(text_features, generator).requires_grad_()
        steering = optimiser(given(a, b), lr=rate(lr))
        for _ in count(steps):
            before(steering)
            cost = loss(*order(emb(rows(image_features), a), emb(rows(text_features), b)))
            value(cost).backward()
            after(steering)
            steering.step()
        return end(a, b)

    return train_heads


def optimiser_anew(image_features, text_features, loss, steps, lr, seed):
    generator = torch.Generator().manual_seed(seed)
    a = start(image_features, generator).requires_grad_()
    b = start(text_features, generator).requires_grad_()
    for _ in range(steps):
        optimiser = torch.optim.Adam([a, b], lr=lr)
        optimiser.zero_grad()
        loss(image_features @ a, text_features @ b).backward()
        optimiser.step()
    return a.detach(), b.detach()


def global_seed(image_features, text_features, loss, steps, lr, seed):
    torch.manual_seed(seed)
    a = (torch.randn(image_features.shape[1], 128) / image_features.shape[1] ** 0.5).to(
        image_features
    )
    b = (torch.randn(text_features.shape[1], 128) / text_features.shape[1] ** 0.5).to(text_features)
    return train_from(a, b, image_features, text_features, loss, steps, lr)


def no_seed(image_features, text_features, loss, steps, lr, seed):
    a, b = (
        torch.randn(f.shape[1], 128).to(f) / f.shape[1] ** 0.5
        for f in (image_features, text_features)
    )
    return train_from(a, b, image_features, text_features, loss, steps, lr)


def train_from(a, b, image_features, text_features, loss, steps, lr):
    a.requires_grad_()
    b.requires_grad_()
    optimiser = torch.optim.Adam([a, b], lr=lr)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(image_features @ a, text_features @ b).backward()
        optimiser.step()
    return a.detach(), b.detach()


def linear_modules(image_features, text_features, loss, steps, lr, seed):
    torch.manual_seed(seed)
    a = nn.Linear(image_features.shape[1], 128, bias=False).to(image_features)
    b = nn.Linear(text_features.shape[1], 128, bias=False).to(text_features)
    optimiser = torch.optim.Adam([*a.parameters(), *b.parameters()], lr=lr)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(a(image_features), b(text_features)).backward()
        optimiser.step()
    return a.weight.detach().T, b.weight.detach().T


def seeded_twice(image_features, text_features, loss, steps, lr, seed):
    a, b = (start(f, torch.Generator().manual_seed(seed)) for f in (image_features, text_features))
    return train_from(a, b, image_features, text_features, loss, steps, lr)


def fixed_seed(image_features, text_features, loss, steps, lr, seed):
    return plain(image_features, text_features, loss, steps, lr, 0)


GENERATOR = torch.Generator().manual_seed(0)


def one_generator_for_all(image_features, text_features, loss, steps, lr, seed):
    a, b = (start(f, GENERATOR) for f in (image_features, text_features))
    return train_from(a, b, image_features, text_features, loss, steps, lr)


def minibatches(image_features, text_features, loss, steps, lr, seed):
    generator = torch.Generator().manual_seed(seed)
    a, b = (start(f, generator).requires_grad_() for f in (image_features, text_features))
    optimiser = torch.optim.Adam([a, b], lr=lr)
    for _ in range(steps):
        rows = torch.randperm(len(image_features), generator=generator)[:8]
        optimiser.zero_grad()
        loss(image_features[rows] @ a, text_features[rows] @ b).backward()
        optimiser.step()
    return a.detach(), b.detach()


def trains_copies(image_features, text_features, loss, steps, lr, seed):
    generator = torch.Generator().manual_seed(seed)
    a, b = (start(f, generator) for f in (image_features, text_features))
    train_from(a.clone(), b.clone(), image_features, text_features, loss, steps, lr)
    return a, b


def one_width(image_features, text_features, loss, steps, lr, seed):
    generator = torch.Generator().manual_seed(seed)
    a, b = (start(image_features, generator).requires_grad_() for _ in range(2))
    optimiser = torch.optim.Adam([a, b], lr=lr)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(image_features @ a, text_features @ b).backward()
        optimiser.step()
    return a.detach(), b.detach()


def standardises_in_place(image_features, text_features, loss, steps, lr, seed):
    image_features -= image_features.mean(0)
    return plain(image_features, text_features, loss, steps, lr, seed)


def trains_features(image_features, text_features, loss, steps, lr, seed):
    image_features.requires_grad_()
    return plain(image_features, text_features, loss, steps, lr, seed)


def embeds(image_features, text_features, loss, steps, lr, seed):
    a, b = plain(image_features, text_features, loss, steps, lr, seed)
    return image_features @ a, text_features @ b


def own_loss(image_features, text_features, loss, steps, lr, seed):
    def contrast(i, t):
        s = F.normalize(i, dim=1) @ F.normalize(t, dim=1).T / 0.1
        return F.cross_entropy(s, torch.arange(len(s)))

    return plain(image_features, text_features, contrast, steps, lr, seed)


def shuffled(image_features, text_features, loss, steps, lr, seed):
    rows = torch.randperm(len(text_features), generator=torch.Generator().manual_seed(1))
    return plain(image_features, text_features[rows], loss, steps, lr, seed)


def with_bias(image_features, text_features, loss, steps, lr, seed):
    return plain(
        image_features, text_features, lambda i, t: loss(i + 0.1, t + 0.1), steps, lr, seed
    )


def looks_first(image_features, text_features, loss, steps, lr, seed):
    a, b = plain(image_features, text_features, loss, steps, lr, seed)
    print("loss at the end", float(loss(image_features @ a, text_features @ b)))
    return a, b


def cosine_schedule(image_features, text_features, loss, steps, lr, seed):
    a, b = plain(image_features, text_features, loss, 0, lr, seed)
    a, b = a.requires_grad_(), b.requires_grad_()
    optimiser = torch.optim.Adam([a, b], lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
    for _ in range(steps):
        optimiser.zero_grad()
        loss(image_features @ a, text_features @ b).backward()
        optimiser.step()
        schedule.step()
    return a.detach(), b.detach()


def keeps_the_best(image_features, text_features, loss, steps, lr, seed):
    a, b = (
        head.requires_grad_() for head in plain(image_features, text_features, loss, 0, lr, seed)
    )
    optimiser = torch.optim.Adam([a, b], lr=lr)
    least, kept = float("inf"), (a.detach(), b.detach())
    for _ in range(steps):
        value = loss(image_features @ a, text_features @ b)
        if value.item() < least:
            least, kept = value.item(), (a.detach().clone(), b.detach().clone())
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    return kept


def text_head_first(image_features, text_features, loss, steps, lr, seed):
    generator = torch.Generator().manual_seed(seed)
    b, a = (start(f, generator) for f in (text_features, image_features))
    return train_from(a, b, image_features, text_features, loss, steps, lr)


def wide(features, generator):
    return torch.randn(features.shape[1], 128, generator=generator).to(features)


WRONG = {
    "image head only": ("only the image head", loop(given=lambda a, b: [a])),
    "text head only": ("only the text head", loop(given=lambda a, b: [b])),
    "no zero_grad": ("zero_grad", loop(before=lambda o: None)),
    "zero_grad after backward": ("initial values", loop(after=lambda o: o.zero_grad())),
    "optimiser anew": ("anew in each step", optimiser_anew),
    "negative loss": ("minimise", loop(value=lambda v: -v)),
    "maximize": ("minimise", loop(optimiser=lambda p, lr: torch.optim.Adam(p, lr, maximize=True))),
    "SGD": ("SGD", loop(optimiser=torch.optim.SGD)),
    "momentum": ("momentum", loop(optimiser=lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9))),
    "AdamW": ("AdamW", loop(optimiser=torch.optim.AdamW)),
    "RMSprop": ("RMSprop", loop(optimiser=torch.optim.RMSprop)),
    "weight decay": (
        "no other options",
        loop(optimiser=lambda p, lr: torch.optim.Adam(p, lr, weight_decay=0.1)),
    ),
    "fixed rate": ("lr", loop(rate=lambda lr: 0.01)),
    "default rate": ("lr", loop(optimiser=lambda p, lr: torch.optim.Adam(p))),
    "a tenth": ("tenth", loop(rate=lambda lr: lr / 10)),
    "cosine schedule": ("no other options", cosine_schedule),
    "one step less": ("in 1 steps", loop(count=lambda steps: range(1, steps + 2))),
    "from 1": ("never called", loop(count=lambda steps: range(1, steps))),
    "always 100": ("100 times", loop(count=lambda steps: range(100))),
    "looks once more": ("2 times in 1 steps", looks_first),
    "the global seed": ("global random state", global_seed),
    "no seed": ("global random state", no_seed),
    "nn.Linear": ("nn.Linear", linear_modules),
    "one start for both": ("same initial values where", seeded_twice),
    "fixed seed": ("another seed", fixed_seed),
    "one generator for all calls": ("same seed", one_generator_for_all),
    "minibatches": ("all N pairs", minibatches),
    "trains copies": ("initial values", trains_copies),
    "scale 1": ("standard deviation", loop(made=wide)),
    "scale 1 / D": (
        "standard deviation",
        loop(made=lambda f, g: start(f, g) / f.shape[1] ** 0.5),
    ),
    "uniform": (
        "mean",
        loop(made=lambda f, g: torch.rand(f.shape[1], 128, generator=g).to(f) / f.shape[1] ** 0.5),
    ),
    "text head first": ("text head drawn first", text_head_first),
    "signs": (
        "normally distributed",
        loop(made=lambda f, g: start(f, g).sign() / f.shape[1] ** 0.5),
    ),
    "clipped": (
        "normally distributed",
        loop(made=lambda f, g: start(f, g).clamp(-2 / f.shape[1] ** 0.5, 2 / f.shape[1] ** 0.5)),
    ),
    "uniform of that spread": (
        "normally distributed",
        loop(
            made=lambda f, g: (
                (torch.rand(f.shape[1], 128, generator=g).to(f) - 0.5) * (12 / f.shape[1]) ** 0.5
            )
        ),
    ),
    "columns of length 1": (
        "same length",
        loop(made=lambda f, g: F.normalize(start(f, g), dim=0)),
    ),
    "the best step": (
        "last step is missing",
        keeps_the_best,
    ),
    "zeros": ("are equal", loop(made=lambda f, g: torch.zeros(f.shape[1], 128).to(f))),
    "transposed": ("(128, D)", loop(end=lambda a, b: (a.detach().T, b.detach().T))),
    "one width": ("shapes", one_width),
    "64 numbers": (
        "(D, 128)",
        loop(made=lambda f, g: torch.randn(f.shape[1], 64, generator=g).to(f) / f.shape[1] ** 0.5),
    ),
    "swapped heads": ("swapped", loop(end=lambda a, b: (b.detach(), a.detach()))),
    "not detached": ("detach", loop(end=lambda a, b: (a, b))),
    "embeddings": ("embeddings (N, 128)", embeds),
    "one tensor": ("two matrices", loop(end=lambda a, b: a.detach())),
    "three things": ("3 things", loop(end=lambda a, b: (a.detach(), b.detach(), 0.0))),
    "numpy": ("numpy", loop(end=lambda a, b: (a.detach().numpy(), b.detach().numpy()))),
    "no return": ("nothing is returned", loop(end=lambda a, b: None)),
    "in place": ("image_features is changed", standardises_in_place),
    "features with gradients": ("image_features records", trains_features),
    "own loss": ("never called", own_loss),
    "texts first": ("texts first", loop(order=lambda i, t: (t, i))),
    "normalised": ("normalised before", loop(emb=lambda f, head: F.normalize(f @ head, dim=1))),
    "relu": ("does not get", loop(emb=lambda f, head: (f @ head).relu())),
    "a bias": ("does not get", with_bias),
    "standardised features": ("does not get", loop(rows=lambda f: (f - f.mean(0)) / f.std(0))),
    "shuffled": ("does not get", shuffled),
    "detached texts": ("only the image head", loop(order=lambda i, t: (i, t.detach()))),
    "in float32": (
        "dtype",
        loop(made=lambda f, g: torch.randn(f.shape[1], 128, generator=g) / f.shape[1] ** 0.5),
    ),
}

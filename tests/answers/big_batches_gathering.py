"""Answers to task 3 of exercise 12: the loss that several processes share."""

import torch


class Multiply(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows, factor):
        ctx.factor = factor
        return rows.clone()

    @staticmethod
    def backward(ctx, grad):
        return ctx.factor * grad, None


def times(rows, factor):
    """The same numbers with a gradient multiplied by `factor`."""
    return factor * rows - ((factor - 1) * rows).detach()


def gather(parts, loss, own=lambda rows: rows, foreign=lambda rows: rows.detach()):
    values = []
    for rank in range(len(parts)):
        mixed = [tuple(map(own if r == rank else foreign, part)) for r, part in enumerate(parts)]
        images, texts = zip(*mixed, strict=True)
        values.append(loss(torch.cat(images), torch.cat(texts)))
    return values


# ---------------------------------------------------------------------------------------------
# Right


def scaled_rows(parts, loss):
    return torch.stack(gather(parts, loss, lambda rows: times(rows, len(parts))))


def scaled_value(parts, loss):
    values = torch.stack(gather(parts, loss))
    return values.detach() + len(parts) * (values - values.detach())


def by_a_function(parts, loss):
    return torch.stack(gather(parts, loss, lambda rows: Multiply.apply(rows, len(parts))))


def by_a_hook(parts, loss):
    def watched(rows):
        rows = rows.clone()
        if rows.requires_grad:
            rows.register_hook(lambda grad: len(parts) * grad)
        return rows

    return torch.stack(gather(parts, loss, watched))


def masked(parts, loss):
    images, texts = (torch.cat(side) for side in zip(*parts, strict=True))
    sizes = torch.tensor([len(part[0]) for part in parts], device=images.device)
    rank = torch.arange(len(parts), device=images.device).repeat_interleave(sizes)
    values = []
    for r in range(len(parts)):
        mine = (rank == r)[:, None]
        value = loss(*(torch.where(mine, side, side.detach()) for side in (images, texts)))
        values.append(value.detach() + len(parts) * (value - value.detach()))
    return torch.stack(values)


def own_rows_first(parts, loss):
    """Another order, the same for both sides: the loss of a batch does not depend on it."""
    values = []
    for rank, (image_emb, text_emb) in enumerate(parts):
        others = [part for r, part in enumerate(parts) if r != rank]
        images = torch.cat([image_emb, *(part[0].detach() for part in others)])
        texts = torch.cat([text_emb, *(part[1].detach() for part in others)])
        value = loss(images, texts)
        values.append((len(parts) * value) - ((len(parts) - 1) * value).detach())
    return torch.stack(values)


RIGHT = [scaled_rows, scaled_value, by_a_function, by_a_hook, masked, own_rows_first]


# ---------------------------------------------------------------------------------------------
# Wrong


def images_gathered_alone(parts, loss):
    images = torch.cat([part[0] for part in parts])
    return torch.stack([loss(images, part[1]) for part in parts])


def stacked(parts, loss):
    images, texts = (torch.stack(side) for side in zip(*parts, strict=True))
    return torch.stack([loss(images, texts) for _ in parts])


def different_orders(parts, loss):
    values = []
    for rank in range(len(parts)):
        order = [parts[rank], *parts[:rank], *parts[rank + 1 :]]
        images = torch.cat([part[0].detach() for part in order])
        values.append(loss(images, torch.cat([part[1] for part in parts])))
    return torch.stack(values)


def own_is_detached(parts, loss):
    values = gather(parts, loss, lambda rows: rows.detach(), lambda rows: rows)
    return torch.stack(values)


def value_times(parts, loss):
    return torch.stack([len(parts) * value for value in gather(parts, loss)])


def value_divided(parts, loss):
    return torch.stack([value / len(parts) for value in gather(parts, loss)])


def times_two(parts, loss):
    return torch.stack(gather(parts, loss, lambda rows: times(rows, 2)))


def twice_scaled(parts, loss):
    values = scaled_rows(parts, loss)
    return values.detach() + len(parts) * (values - values.detach())


def scaled_down(parts, loss):
    values = torch.stack(gather(parts, loss))
    return values.detach() + (values - values.detach()) / len(parts)


def all_flow_scaled(parts, loss):
    values = torch.stack(gather(parts, loss, foreign=lambda rows: rows))
    return values.detach() + len(parts) * (values - values.detach())


def texts_detached(parts, loss):
    return scaled_rows([(image_emb, text_emb.detach()) for image_emb, text_emb in parts], loss)


def images_detached(parts, loss):
    return scaled_rows([(image_emb.detach(), text_emb) for image_emb, text_emb in parts], loss)


def rank_zero(parts, loss):
    value = scaled_rows(parts, loss)[0]
    return torch.stack([value] * len(parts))


def mean_of_ranks(parts, loss):
    return scaled_rows(parts, loss).mean()


def summed(parts, loss):
    return scaled_rows(parts, loss).sum()


def all_detached(parts, loss):
    return torch.stack(gather(parts, loss, lambda rows: rows.detach()))


def without_the_own(parts, loss):
    values = []
    for rank in range(len(parts)):
        others = [part for r, part in enumerate(parts) if r != rank]
        images, texts = (torch.cat(side) for side in zip(*others, strict=True))
        values.append(loss(images, texts))
    return torch.stack(values)


def texts_first(parts, loss):
    return scaled_rows(parts, lambda image_emb, text_emb: loss(text_emb, image_emb))


def by_item(parts, loss):
    return torch.tensor([value.item() for value in gather(parts, loss)])


def in_place(parts, loss):
    for rank, (image_emb, text_emb) in enumerate(parts):
        parts[rank] = image_emb / image_emb.norm(dim=1, keepdim=True), text_emb
    return scaled_rows(parts, loss)


def calls_backward(parts, loss):
    values = scaled_rows(parts, loss)
    values.sum().backward(retain_graph=True)
    return values


WRONG = {
    "own parts": ("loss of its own part", lambda p, loss: torch.stack([loss(*one) for one in p])),
    "mean of own parts": (
        "mean of the parts' own losses",
        lambda p, loss: torch.stack([loss(*one) for one in p]).mean().expand(len(p)),
    ),
    "images alone": ("raised", images_gathered_alone),
    "stacked": ("raised", stacked),
    "different orders": ("different orders", different_orders),
    "own detached": ("own rows are detached", own_is_detached),
    "all detached": ("detached", all_detached),
    "nothing detached": (
        "nothing is detached",
        lambda p, loss: torch.stack(gather(p, loss, foreign=lambda rows: rows)),
    ),
    "nothing detached, scaled": ("nothing is detached", all_flow_scaled),
    "not scaled": ("multiplied by P", lambda p, loss: torch.stack(gather(p, loss))),
    "value scaled": ("value itself is multiplied", value_times),
    "value divided": ("value is divided", value_divided),
    "scaled by two": ("multiplied by 2", times_two),
    "scaled twice": ("twice", twice_scaled),
    "scaled down": ("divided by P", scaled_down),
    "texts detached": ("detached", texts_detached),
    "images detached": ("detached", images_detached),
    "rank zero": ("first rank", rank_zero),
    "mean": ("shape", mean_of_ranks),
    "sum": ("shape", summed),
    "without the own": ("raised", without_the_own),
    "texts first": ("texts are handed over first", texts_first),
    "numbers": ("dtype", by_item),
    "a list": ("list", lambda p, loss: gather(p, loss, lambda rows: times(rows, len(p)))),
    "in place": ("changed in place", in_place),
    "calls backward": ("backward", calls_backward),
    "nothing": ("nothing is returned", lambda p, loss: None),
}

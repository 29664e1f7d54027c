"""Answers to task 3 of exercise 07: one step of a training."""

import torch
import torch.nn.functional as F
from torch import nn


def trained(*heads):
    return [p for head in heads for p in head.parameters() if p.grad is not None]


# ---------------------------------------------------------------------------------------------
# Right ones


def plain(image_head, text_head, batch, loss, optimizer, clip):
    images, texts = batch
    optimizer.zero_grad()
    value = loss(image_head(images), text_head(texts))
    value.backward()
    params = trained(image_head, text_head)
    length = torch.cat([p.grad.flatten() for p in params]).norm()
    if torch.isfinite(length):
        if clip is not None and length > clip:
            for p in params:
                p.grad *= clip / length
        optimizer.step()
    return value.detach()


def with_torchs_clipping(image_head, text_head, batch, loss, optimizer, clip):
    value = loss(image_head(batch[0]), text_head(batch[1]))
    optimizer.zero_grad(set_to_none=True)
    value.backward()
    params = [*image_head.parameters(), *text_head.parameters()]
    length = nn.utils.clip_grad_norm_(params, float("inf") if clip is None else clip)
    if length.isfinite().item():
        optimizer.step()
    return value.detach()


def from_the_optimiser(image_head, text_head, batch, loss, optimizer, clip):
    for group in optimizer.param_groups:
        for p in group["params"]:
            p.grad = None
    value = loss(image_head(batch[0]), text_head(batch[1]))
    value.backward()
    params = [p for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
    length = sum((p.grad**2).sum() for p in params) ** 0.5
    if not length.isfinite():
        optimizer.zero_grad()
        return value.data
    if clip:
        for p in params:
            p.grad.mul_(min(1.0, float(clip / length)))
    optimizer.step()
    return value.data


def with_autograd(image_head, text_head, batch, loss, optimizer, clip):
    params = [p for h in (image_head, text_head) for p in h.parameters() if p.requires_grad]
    image_emb, text_emb = (head(x) for head, x in zip((image_head, text_head), batch, strict=True))
    value = loss(image_emb, text_emb)
    gradients = torch.autograd.grad(value, params)
    length = torch.linalg.vector_norm(torch.stack([g.norm() for g in gradients]))
    factor = 1.0 if clip is None else (clip / length).clamp(max=1.0)
    if bool(length.isfinite()):
        for p, g in zip(params, gradients, strict=True):
            p.grad = g * factor
        optimizer.step()
    return value.detach().clone()


def with_a_closure(image_head, text_head, batch, loss, optimizer, clip):
    value = loss(image_head(batch[0]), text_head(batch[1]))
    optimizer.zero_grad()
    value.backward()
    params = trained(image_head, text_head)
    if all(p.grad.isfinite().all() for p in params):
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(params, max_norm=clip)
        optimizer.step(lambda: value)
    print("loss", value.item())
    return value.detach()


RIGHT = [plain, with_torchs_clipping, from_the_optimiser, with_autograd, with_a_closure]

# ---------------------------------------------------------------------------------------------
# Wrong ones: `step` with one line changed


def together(image_head, text_head, clip):
    nn.utils.clip_grad_norm_([*image_head.parameters(), *text_head.parameters()], clip)


def step(
    before=lambda o: o.zero_grad(),
    after=lambda o: None,
    last=lambda o: None,
    emb=lambda images, texts: (images, texts),
    cost=lambda value: value,
    clipping=together,
    late=lambda i, t, clip: None,
    steps=1,
    fine=lambda value, params: all(p.grad is None or p.grad.isfinite().all() for p in params),
    end=lambda value: value.detach(),
):
    def train_step(image_head, text_head, batch, loss, optimizer, clip):
        value = loss(*emb(image_head(batch[0]), text_head(batch[1])))
        before(optimizer)
        cost(value).backward()
        after(optimizer)
        if fine(value, [*image_head.parameters(), *text_head.parameters()]):
            if clip is not None:
                clipping(image_head, text_head, clip)
            for _ in range(steps):
                optimizer.step()
            if clip is not None:
                late(image_head, text_head, clip)
        last(optimizer)
        return end(value)

    return train_step


def nothing(*args):
    pass


def apart(image_head, text_head, clip):
    for head in (image_head, text_head):
        nn.utils.clip_grad_norm_(head.parameters(), clip)


def each_tensor(image_head, text_head, clip):
    for p in trained(image_head, text_head):
        nn.utils.clip_grad_norm_([p], clip)


def by_value(image_head, text_head, clip):
    nn.utils.clip_grad_value_([*image_head.parameters(), *text_head.parameters()], clip)


def to_length(image_head, text_head, clip):
    params = trained(image_head, text_head)
    length = torch.cat([p.grad.flatten() for p in params]).norm()
    for p in params:
        p.grad *= clip / length


def measured(size):
    def clipping(image_head, text_head, clip):
        params = trained(image_head, text_head)
        factor = (clip / size([p.grad for p in params])).clamp(max=1)
        for p in params:
            p.grad *= factor

    return clipping


def by_the_smaller(image_head, text_head, clip):
    params = trained(image_head, text_head)
    length = torch.cat([p.grad.flatten() for p in params]).norm()
    for p in params:
        p.grad.mul_(length.clamp(max=clip) / length)


def sides_swapped(image_head, text_head, batch, loss, optimizer, clip):
    texts, images = batch
    return plain(image_head, text_head, (images, texts), loss, optimizer, clip)


def swapped_factor(image_head, text_head, clip):
    params = trained(image_head, text_head)
    length = torch.cat([p.grad.flatten() for p in params]).norm()
    for p in params:
        p.grad *= min(1, length / clip)


def weights_clipped(image_head, text_head, clip):
    params = [*image_head.parameters(), *text_head.parameters()]
    length = torch.cat([p.detach().flatten() for p in params]).norm()
    for p in params:
        p.data *= (clip / length).clamp(max=1)


def rebinds(image_head, text_head, clip):
    params = trained(image_head, text_head)
    length = torch.cat([p.grad.flatten() for p in params]).norm()
    gradients = [p.grad for p in params]
    for g in gradients:
        g = g * min(1, clip / length)


def always_clips(image_head, text_head, batch, loss, optimizer, clip):
    value = loss(image_head(batch[0]), text_head(batch[1]))
    optimizer.zero_grad()
    value.backward()
    length = nn.utils.clip_grad_norm_([*image_head.parameters(), *text_head.parameters()], clip)
    if length.isfinite():
        optimizer.step()
    return value.detach()


def grads_taken_for_granted(image_head, text_head, batch, loss, optimizer, clip):
    value = loss(image_head(batch[0]), text_head(batch[1]))
    optimizer.zero_grad()
    value.backward()
    params = [*image_head.parameters(), *text_head.parameters()]
    length = sum(p.grad.square().sum() for p in params).sqrt()
    if length.isfinite():
        for p in params:
            p.grad *= 1 if clip is None else min(1, clip / length)
        optimizer.step()
    return value.detach()


def own_optimiser(image_head, text_head, batch, loss, optimizer, clip):
    params = [*image_head.parameters(), *text_head.parameters()]
    return plain(
        image_head,
        text_head,
        batch,
        loss,
        torch.optim.AdamW(params, optimizer.defaults["lr"]),
        clip,
    )


def loss_again(image_head, text_head, batch, loss, optimizer, clip):
    plain(image_head, text_head, batch, loss, optimizer, clip)
    with torch.no_grad():
        return loss(image_head(batch[0]), text_head(batch[1]))


def weights_multiplied(image_head, text_head, batch, loss, optimizer, clip):
    text = text_head[0] if isinstance(text_head, nn.Sequential) else text_head
    emb = batch[0] @ image_head.weight.T + image_head.bias, batch[1] @ text.weight.T + text.bias
    value = loss(*emb)
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    return value.detach()


def trains_first(image_head, text_head, batch, loss, optimizer, clip):
    image_head.train()
    text_head.train()
    return plain(image_head, text_head, batch, loss, optimizer, clip)


def own_loss(image_head, text_head, batch, loss, optimizer, clip):
    def contrast(image_emb, text_emb):
        s = F.normalize(image_emb) @ F.normalize(text_emb).T
        return F.cross_entropy(s, torch.arange(len(s)))

    return plain(image_head, text_head, batch, contrast, optimizer, clip)


def normalises_in_place(image_head, text_head, batch, loss, optimizer, clip):
    batch[0].sub_(batch[0].mean(0))
    return plain(image_head, text_head, batch, loss, optimizer, clip)


def zeroes_bad_gradients(image_head, text_head, batch, loss, optimizer, clip):
    value = loss(image_head(batch[0]), text_head(batch[1]))
    optimizer.zero_grad()
    value.backward()
    for p in trained(image_head, text_head):
        p.grad.nan_to_num_(0, 0, 0)
    if clip is not None:
        together(image_head, text_head, clip)
    optimizer.step()
    return value.detach()


def stops(image_head, text_head, batch, loss, optimizer, clip):
    def checked(image_emb, text_emb):
        value = loss(image_emb, text_emb)
        if not value.isfinite():
            raise FloatingPointError("the loss is not finite")
        return value

    return plain(image_head, text_head, batch, checked, optimizer, clip)


def returns_zero(image_head, text_head, batch, loss, optimizer, clip):
    value = plain(image_head, text_head, batch, loss, optimizer, clip)
    return value.nan_to_num(0)


def loss_and_length(image_head, text_head, batch, loss, optimizer, clip):
    value = plain(image_head, text_head, batch, loss, optimizer, clip)
    return value, torch.zeros(())


def returns_length(image_head, text_head, batch, loss, optimizer, clip):
    value = loss(image_head(batch[0]), text_head(batch[1]))
    optimizer.zero_grad()
    value.backward()
    length = nn.utils.clip_grad_norm_(
        [*image_head.parameters(), *text_head.parameters()], clip or float("inf")
    )
    if length.isfinite():
        optimizer.step()
    return length


def first_group_clipped(image_head, text_head, batch, loss, optimizer, clip):
    value = loss(image_head(batch[0]), text_head(batch[1]))
    optimizer.zero_grad()
    value.backward()
    params = optimizer.param_groups[0]["params"]
    length = nn.utils.clip_grad_norm_(params, clip or float("inf"))
    if length.isfinite():
        optimizer.step()
    return value.detach()


def without_gradients(image_head, text_head, batch, loss, optimizer, clip):
    with torch.no_grad():
        emb = image_head(batch[0]), text_head(batch[1])
    value = loss(*emb)
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    return value.detach()


def steps_if_clipped(image_head, text_head, batch, loss, optimizer, clip):
    value = loss(image_head(batch[0]), text_head(batch[1]))
    optimizer.zero_grad()
    value.backward()
    if clip is not None:
        nn.utils.clip_grad_norm_([*image_head.parameters(), *text_head.parameters()], clip)
        optimizer.step()
    return value.detach()


def one_dtype(image_head, text_head, batch, loss, optimizer, clip):
    return plain(image_head, text_head, batch, loss, optimizer, clip).float()


WRONG = {
    "no zero_grad": ("zero_grad() before", step(before=nothing)),
    "zero_grad after backward": ("nothing moves", step(after=lambda o: o.zero_grad())),
    "zero_grad at the end": (
        "comes at the end",
        step(before=nothing, last=lambda o: o.zero_grad()),
    ),
    "no step": ("optimizer.step() called", step(steps=0)),
    "two steps": ("called twice", step(steps=2)),
    "minus": ("minimise", step(cost=lambda v: -v)),
    "no clipping": ("is not clipped", step(clipping=nothing)),
    "clipped late": ("after backward() and before", step(clipping=nothing, late=together)),
    "heads apart": ("each head's gradient", step(clipping=apart)),
    "each tensor": ("each tensor's gradient", step(clipping=each_tensor)),
    "values": ("each number", step(clipping=by_value)),
    "longer too": ("made longer", step(clipping=to_length)),
    "image head clipped": ("only the image head", step(clipping=lambda i, t, c: apart(i, i, c))),
    "text head clipped": ("only the text head", step(clipping=lambda i, t, c: apart(t, t, c))),
    "0 / 0": ("become NaN", step(clipping=by_the_smaller)),
    "sides swapped": ("its own side", sides_swapped),
    "no root": (
        "root is missing",
        step(clipping=measured(lambda gs: sum((g**2).sum() for g in gs))),
    ),
    "sum of sizes": (
        "sum of all sizes",
        step(clipping=measured(lambda gs: sum(g.abs().sum() for g in gs))),
    ),
    "the largest": (
        "largest number",
        step(clipping=measured(lambda gs: max(g.abs().max() for g in gs))),
    ),
    "lengths added": (
        "lengths of the single tensors",
        step(clipping=measured(lambda gs: sum(g.norm() for g in gs))),
    ),
    "mean of squares": (
        "mean of the squares",
        step(
            clipping=measured(
                lambda gs: torch.cat([g.flatten() for g in gs]).square().mean() ** 0.5
            )
        ),
    ),
    "length 1": ("fixed at 1", step(clipping=lambda i, t, c: together(i, t, 1.0))),
    "length over clip": ("min(1, clip / length)", step(clipping=swapped_factor)),
    "the weights clipped": ("without clipping the steps are right", step(clipping=weights_clipped)),
    "a new name for the gradient": ("is not clipped", step(clipping=rebinds)),
    "None clipped": ("clip is None", always_clips),
    "frozen forgotten": ("frozen", grads_taken_for_granted),
    "texts detached": ("text head", step(emb=lambda i, t: (i, t.detach()))),
    "images detached": ("image head", step(emb=lambda i, t: (i.detach(), t))),
    "texts first": ("texts first", step(emb=lambda i, t: (t, i))),
    "normalised": ("normalised before", step(emb=lambda i, t: (F.normalize(i), F.normalize(t)))),
    "an optimiser of its own": ("do not end where", own_optimiser),
    "the loss once more": ("called 2 times", loss_again),
    "weights instead of modules": ("not called as a module", weights_multiplied),
    "train()": ("training and evaluation", trains_first),
    "another loss": ("never called", own_loss),
    "in place": ("images of the batch", normalises_in_place),
    "steps on NaN": ("finite", step(fine=lambda v, p: True)),
    "only the loss looked at": ("root of 0", step(fine=lambda v, p: v.isfinite())),
    "only the image head looked at": (
        "finite",
        step(fine=lambda v, p: all(q.grad is None or q.grad.isfinite().all() for q in p[:2])),
    ),
    "zeros in place of NaN": ("NaN", zeroes_bad_gradients),
    "stops at NaN": ("FloatingPointError", stops),
    "0 in place of NaN": ("not returned as it is", returns_zero),
    "with the graph": ("graph", step(end=lambda v: v)),
    "item": ("value.detach()", step(end=lambda v: v.item())),
    "two results": ("2 results", loss_and_length),
    "no return": ("nothing is returned", step(end=nothing)),
    "the length": ("length of the gradient is returned", returns_length),
    "half the loss": ("not the loss of the batch", step(end=lambda v: v.detach() / 2)),
    "float32": ("dtype", one_dtype),
    "shape (1,)": ("shape (1,)", step(end=lambda v: v.detach()[None])),
    "the first group clipped": ("only the image head", first_group_clipped),
    "no_grad": ("torch.no_grad()", without_gradients),
    "steps only if clipped": ("the step is taken all the same", steps_if_clipped),
    "zero_grad before the step": (
        "nothing moves",
        step(clipping=nothing, after=lambda o: o.zero_grad()),
    ),
    "two bugs": ("two things", step(before=nothing, clipping=nothing)),
}

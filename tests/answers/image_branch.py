"""Answers to exercise 02: the convolution, the residual block, the pooling, the receptive field."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.resnet import BasicBlock

from answers.image_branch_convolutions import RIGHT_CONVOLUTIONS, WRONG_CONVOLUTIONS
from mmret_lib.checks import image_branch

# ---------------------------------------------------------------------------------------------
# Task 2: the residual block


def block(x, conv1, bn1, conv2, bn2, shortcut=None):
    out = torch.relu(bn1(conv1(x)))
    out = bn2(conv2(out))
    out = out + (x if shortcut is None else shortcut(x))
    return torch.relu(out)


def block_with_modules(x, conv1, bn1, conv2, bn2, shortcut=None):
    relu = nn.ReLU()
    residue = nn.Sequential(conv1, bn1, relu, conv2, bn2) if isinstance(conv1, nn.Module) else None
    out = residue(x) if residue is not None else bn2(conv2(relu(bn1(conv1(x)))))
    identity = shortcut(x) if shortcut else x
    return relu(identity + out)


def block_in_place(x, conv1, bn1, conv2, bn2, shortcut=None):
    identity = x
    out = bn2(conv2(F.relu(bn1(conv1(x)), inplace=True)))
    if shortcut is not None:
        identity = shortcut(x)
    out += identity
    return out.clamp_(min=0)


def block_of_torchvision(x, conv1, bn1, conv2, bn2, shortcut=None):
    block = BasicBlock.__new__(BasicBlock)
    nn.Module.__init__(block)
    block.conv1, block.bn1, block.conv2, block.bn2 = conv1, bn1, conv2, bn2
    block.relu, block.downsample = nn.ReLU(), shortcut
    return BasicBlock.forward(block, x)


def put(join=None, first=None, second=None, side=None):
    """A wrong answer: the right lines, some of them put differently."""

    def wrong(x, conv1, bn1, conv2, bn2, shortcut=None):
        layers = conv1, bn1, conv2, bn2
        inner = F.relu(bn1(conv1(x))) if first is None else first(x, *layers)
        out = bn2(conv2(inner)) if second is None else second(inner, *layers)
        if side is None:
            way = x if shortcut is None else shortcut(x)
        else:
            way = side(x, inner, out, shortcut)
        return F.relu(out + way) if join is None else join(out, way)

    return wrong


def x_overwritten(x, conv1, bn1, conv2, bn2, shortcut=None):
    x = F.relu(bn1(conv1(x)))
    out = bn2(conv2(x))
    if shortcut is not None:
        x = shortcut(x)
    return F.relu(out + x)


def x_overwritten_all_the_way(x, conv1, bn1, conv2, bn2, shortcut=None):
    x = F.relu(bn1(conv1(x)))
    x = bn2(conv2(x))
    return F.relu(x + x)


def sum_before_bn2(x, conv1, bn1, conv2, bn2, shortcut=None):
    out = conv2(F.relu(bn1(conv1(x))))
    out = bn2(out + (x if shortcut is None else shortcut(x)))
    return F.relu(out)


def before_activation(x, conv1, bn1, conv2, bn2, shortcut=None):
    """The block of the second ResNet paper: BatchNorm and ReLU first."""
    try:
        out = conv1(F.relu(bn1(x)))
    except RuntimeError:
        out = conv1(x)
    out = conv2(F.relu(bn2(out)))
    return out + (x if shortcut is None else shortcut(x))


def shortcut_forgotten_in_call(x, conv1, bn1, conv2, bn2, shortcut=None):
    out = bn2(conv2(F.relu(bn1(conv1(x)))))
    if shortcut is not None:
        shortcut(x)
    return F.relu(out + (x if x.shape == out.shape else 0))


def shortcut_after_relu(x, conv1, bn1, conv2, bn2, shortcut=None):
    out = F.relu(bn2(conv2(F.relu(bn1(conv1(x))))))
    return out + (x if shortcut is None else shortcut(x))


def in_training(x, conv1, bn1, conv2, bn2, shortcut=None):
    for layer in (conv1, bn1, conv2, bn2):
        if isinstance(layer, nn.Module):
            layer.train()
    return block(x, conv1, bn1, conv2, bn2, shortcut)


def in_use(x, conv1, bn1, conv2, bn2, shortcut=None):
    for layer in (conv1, bn1, conv2, bn2):
        if isinstance(layer, nn.Module):
            layer.eval()
    return block(x, conv1, bn1, conv2, bn2, shortcut)


def changes_x(x, conv1, bn1, conv2, bn2, shortcut=None):
    with torch.no_grad():
        out = bn2(conv2(F.relu(bn1(conv1(x)))))
        way = x if shortcut is None else shortcut(x)
        way += out
    return way.relu()


def detached_way(x, conv1, bn1, conv2, bn2, shortcut=None):
    out = bn2(conv2(F.relu(bn1(conv1(x)))))
    with torch.no_grad():
        way = x if shortcut is None else shortcut(x)
    return F.relu(out + way)


def no_first_relu(x, conv1, bn1, conv2, bn2, shortcut=None):
    out = bn2(conv2(bn1(conv1(x))))
    return F.relu(out + (x if shortcut is None else shortcut(x)))


def three_relus(x, conv1, bn1, conv2, bn2, shortcut=None):
    out = F.relu(bn2(conv2(F.relu(bn1(conv1(x))))))
    return F.relu(out + (x if shortcut is None else shortcut(x)))


def shortcut_called_twice(x, conv1, bn1, conv2, bn2, shortcut=None):
    out = bn2(conv2(F.relu(bn1(conv1(x)))))
    if shortcut is not None and shortcut(x).shape == out.shape:
        return F.relu(out + shortcut(x))
    return F.relu(out + x)


def first_half_run_for_its_shape(x, conv1, bn1, conv2, bn2, shortcut=None):
    assert bn1(conv1(x)).dim() == x.dim()
    return block(x, conv1, bn1, conv2, bn2, shortcut)


def norms_rebuilt(x, conv1, bn1, conv2, bn2, shortcut=None):
    def norm(layer, maps):
        if not isinstance(layer, nn.BatchNorm2d):
            return layer(maps)
        layer.num_batches_tracked += int(layer.training)
        return F.batch_norm(
            maps, layer.running_mean, layer.running_var, layer.weight, layer.bias, eps=layer.eps
        )

    return block(x, conv1, lambda m: norm(bn1, m), conv2, lambda m: norm(bn2, m), shortcut)


def relu6_inside(x, conv1, bn1, conv2, bn2, shortcut=None):
    out = bn2(conv2(F.relu6(bn1(conv1(x)))))
    return F.relu(out + (x if shortcut is None else shortcut(x)))


def activated(act, last=None):
    """The block with another activation, at both places or with another one for the last."""

    def wrong(x, conv1, bn1, conv2, bn2, shortcut=None):
        out = bn2(conv2(act(bn1(conv1(x)))))
        return (last or act)(out + (x if shortcut is None else shortcut(x)))

    return wrong


RIGHT_BLOCKS = [block, block_with_modules, block_in_place, block_of_torchvision]
WRONG_BLOCKS = {
    "no last ReLU": ("last ReLU is missing", put(lambda out, way: out + way)),
    "no first ReLU": (
        "between the two convolutions",
        put(first=lambda x, c1, b1, c2, b2: b1(c1(x))),
    ),
    "ReLU before the sum": ("before the sum", shortcut_after_relu),
    "two ReLUs at the end": (
        "before the sum, too",
        three_relus,
    ),
    "ReLU on the shortcut": ("through a ReLU", put(lambda out, way: F.relu(out + F.relu(way)))),
    "no shortcut": ("nothing is added", put(lambda out, way: F.relu(out))),
    "concatenated": ("shape", put(lambda out, way: F.relu(torch.cat([out, way], dim=-1)))),
    "averaged": ("mean of the two", put(lambda out, way: F.relu(0.5 * (out + way)))),
    "subtracted": ("subtracted", put(lambda out, way: F.relu(out - way))),
    "x overwritten": ("overwritten", x_overwritten),
    "x overwritten twice": ("overwritten", x_overwritten_all_the_way),
    "sum before bn2": ("before bn2", sum_before_bn2),
    "bn2 left out": ("bn2 is left out", put(second=lambda i, c1, b1, c2, b2: c2(i))),
    "bn1 left out": ("bn1 is left out", put(first=lambda x, c1, b1, c2, b2: F.relu(c1(x)))),
    "bn1 twice": ("bn1 is used twice", put(second=lambda i, c1, b1, c2, b2: b1(c2(i)))),
    "conv1 twice": (
        "conv1",
        put(second=lambda i, c1, b1, c2, b2: b2(c1(i))),
    ),
    "ReLU before bn1": ("before bn1", put(first=lambda x, c1, b1, c2, b2: b1(F.relu(c1(x))))),
    "shortcut of the result": (
        "block's result",
        put(side=lambda x, inner, out, shortcut: x if shortcut is None else shortcut(out)),
    ),
    "shortcut ignored": ("ignored", put(side=lambda x, inner, out, shortcut: x)),
    "shortcut called in vain": ("shortcut", shortcut_forgotten_in_call),
    "nothing without a shortcut": (
        "no shortcut is given",
        put(side=lambda x, inner, out, shortcut: 0 if shortcut is None else shortcut(x)),
    ),
    "activation first": ("before the convolutions", before_activation),
    "train": ("training", in_training),
    "eval": ("train() or eval()", in_use),
    "changes x": ("in place", changes_x),
    "no gradient on the shortcut": ("gradient", detached_way),
    "shortcut called twice": ("more or less than once", shortcut_called_twice),
    "first half run twice": ("more or less than once", first_half_run_for_its_shape),
    "norms rebuilt": ("while the network trains", norms_rebuilt),
    "leaky ReLU": ("a leaky ReLU stands in the place of both", activated(nn.LeakyReLU())),
    "GELU": ("a GELU stands in the place of both", activated(F.gelu)),
    "SiLU": ("a SiLU", activated(lambda x: x * torch.sigmoid(x))),
    "ELU": ("an ELU", activated(nn.ELU())),
    "leaky ReLU inside": ("the first ReLU", activated(nn.LeakyReLU(), torch.relu)),
    "GELU at the end": ("the last ReLU", activated(torch.relu, nn.GELU())),
    "relu6 inside": ("no upper bound", relu6_inside),
    "nothing returned": ("nothing is returned", lambda *layers: None),
}

# ---------------------------------------------------------------------------------------------
# Task 3: the pooling


def pooled_by_layer(maps):
    return F.adaptive_avg_pool2d(maps, 1).flatten(1)


def pooled_in_two_steps(maps):
    return maps.mean(-1).mean(-1)


def pooled_by_sum(maps):
    b, c, h, w = maps.shape
    return maps.reshape(b, c, h * w).sum(dim=2) / (h * w)


def pooled_by_einsum(maps):
    return torch.einsum("bchw->bc", maps) / maps[0, 0].numel()


def pooled_by_window(maps):
    return F.avg_pool2d(maps, kernel_size=maps.shape[2:])[:, :, 0, 0]


def squeezed(maps):
    return maps.mean(dim=(2, 3), keepdim=True).squeeze()


def pooled_over_seven(maps):
    return F.avg_pool2d(maps, min(7, *maps.shape[2:]))[:, :, 0, 0]


def pooled_by_numpy(maps):
    return torch.from_numpy(np.mean(maps.detach().numpy(), axis=(2, 3)))


def pooled_by_float(maps):
    return maps.float().mean(dim=(2, 3))


RIGHT_POOLS = [
    lambda maps: maps.mean(dim=(-1, -2)),
    lambda maps: maps.flatten(2).mean(2),
    pooled_by_layer,
    pooled_in_two_steps,
    pooled_by_sum,
    pooled_by_einsum,
    pooled_by_window,
]
WRONG_POOLS = {
    "sum": ("sum is taken", lambda maps: maps.sum(dim=(2, 3))),
    "maximum": ("maximum", lambda maps: maps.amax(dim=(2, 3))),
    "largest of the flattened": ("maximum", lambda maps: maps.flatten(2).max(dim=2).values),
    "median": ("median", lambda maps: maps.flatten(2).median(dim=-1).values),
    "rows only": ("shape", lambda maps: maps.mean(dim=2)),
    "kept dimensions": ("shape", lambda maps: maps.mean(dim=(2, 3), keepdim=True)),
    "flattened": ("shape", lambda maps: maps.flatten(1)),
    "squeezed": ("squeeze", squeezed),
    "one number per picture": ("shape", lambda maps: maps.mean(dim=(1, 2, 3))),
    "over channels and rows": ("shape", lambda maps: maps.mean(dim=(1, 2))),
    "over the batch": (
        "whole batch",
        lambda maps: maps.mean(dim=(0, 2, 3)).expand(len(maps), -1),
    ),
    "divided by the height": ("height alone", lambda maps: maps.sum(dim=(2, 3)) / maps.shape[2]),
    "divided by the square": ("H * H", lambda maps: maps.sum(dim=(2, 3)) / maps.size(2) ** 2),
    "seven by seven": ("some map sizes only", pooled_over_seven),
    "divided by 49": ("49", lambda maps: maps.sum(dim=(2, 3)) / 49),
    "middle": ("middle", lambda maps: maps[:, :, maps.size(2) // 2, maps.size(3) // 2]),
    "without zeros": (
        "zeros",
        lambda maps: maps.sum(dim=(2, 3)) / (maps != 0).sum(dim=(2, 3)).clamp(min=1),
    ),
    "normalised": ("normalising", lambda maps: F.normalize(maps.mean(dim=(2, 3)), dim=1)),
    "relu": ("ReLU", lambda maps: maps.mean(dim=(2, 3)).relu()),
    "relu before": ("ReLU stands before", lambda maps: maps.relu().mean(dim=(2, 3))),
    "numpy": ("detached", pooled_by_numpy),
    "float": ("float64", pooled_by_float),
    "detached": ("detached", lambda maps: maps.mean(dim=(2, 3)).detach()),
    "a list": ("list", lambda maps: maps.mean(dim=(2, 3)).tolist()),
}

# ---------------------------------------------------------------------------------------------
# Task 4: the receptive field


def field_backwards(layers):
    size = 1
    for kernel, stride in reversed(layers):
        size = (size - 1) * stride + kernel
    return size


def field_with_products(layers):
    from math import prod

    strides = [stride for _, stride in layers]
    return 1 + sum((kernel - 1) * prod(strides[:n]) for n, (kernel, _) in enumerate(layers))


def field_recursively(layers):
    if not layers:
        return 1
    kernel, stride = layers[0]
    return stride * (field_recursively(layers[1:]) - 1) + kernel


def field_by_numpy(layers):
    table = np.array(layers, dtype=np.int64).reshape(-1, 2)
    steps = np.concatenate([[1], np.cumprod(table[:, 1])[:-1]]) if len(table) else np.ones(0)
    return int(1 + ((table[:, 0] - 1) * steps).sum())


def field_by_gradient(layers):
    """Ask a network of ones which pixels it depends on."""
    side = 1 + sum(kernel for kernel, _ in layers) * 2 ** len(layers)
    if side > 4000:
        return field_backwards(layers)
    line = torch.zeros(1, 1, side, requires_grad=True)
    out = line
    for kernel, stride in layers:
        out = F.conv1d(out, torch.ones(1, 1, kernel), stride=stride)
    out[0, 0, 0].backward()
    return int((line.grad != 0).sum())


def field(start=1, wider=None, farther=None, order=list, end=None):
    def wrong(layers):
        size, jump = start, 1
        for kernel, stride in order(layers):
            grown = size + (kernel - 1) * jump
            size = grown if wider is None else wider(size, kernel, stride, jump)
            jump = jump * stride if farther is None else farther(jump, stride)
        return size if end is None else end(size, jump)

    return wrong


def stride_first(layers):
    size, jump = 1, 1
    for kernel, stride in layers:
        jump *= stride
        size += (kernel - 1) * jump
    return size


def popped(layers):
    size, jump = 1, 1
    while layers:
        kernel, stride = layers.pop(0)
        size += (kernel - 1) * jump
        jump *= stride
    return size


def backward_formula_forwards(layers):
    size = 1
    for kernel, stride in layers:
        size = (size - 1) * stride + kernel
    return size


def no_empty_list(layers):
    size, jump = layers[0][0], layers[0][1]
    for kernel, stride in layers[1:]:
        size += (kernel - 1) * jump
        jump *= stride
    return size


def threes_only(layers):
    size, jump = 1, 1
    for _, stride in layers:
        size += 2 * jump
        jump *= stride
    return size


RIGHT_FIELDS = [
    field_backwards,
    field_with_products,
    field_recursively,
    field_by_numpy,
    field(),
]
WRONG_FIELDS = {
    "strides ignored": ("strides are ignored", lambda layers: 1 + sum(k - 1 for k, _ in layers)),
    "kernels added up": ("kernels are added up", lambda layers: sum(k for k, _ in layers)),
    "kernels multiplied": ("multiplied", field(wider=lambda size, k, s, jump: size * k)),
    "whole kernel": ("whole kernel", field(wider=lambda size, k, s, jump: size + k * jump)),
    "own stride counts": ("own stride already counts", stride_first),
    "only the own stride": ("own stride", field(wider=lambda size, k, s, jump: size + (k - 1) * s)),
    "strides added": ("added up", field(farther=lambda jump, s: jump + s)),
    "last stride only": ("last stride", field(farther=lambda jump, s: s)),
    "starts at 0": ("starts at 0", field(start=0)),
    "last layer first": ("wrong order", field(order=lambda layers: layers[::-1])),
    "backward formula forwards": ("wrong order", backward_formula_forwards),
    "swapped": ("swapped", field(order=lambda layers: [(s, k) for k, s in layers])),
    "jump returned": ("step is returned", field(end=lambda size, jump: jump)),
    "area": ("area", field(end=lambda size, jump: size * size)),
    "radius": ("middle", field(end=lambda size, jump: (size - 1) // 2)),
    "half the kernel": ("half", field(wider=lambda size, k, s, jump: size + k // 2 * jump)),
    "first layer left out": ("first layer", field(order=lambda layers: layers[1:])),
    "last layer left out": ("last layer is left out", field(order=lambda layers: layers[:-1])),
    "no layer at all": ("without any layer", no_empty_list),
    "three is fixed": ("taken as 3", threes_only),
    "at most the picture": (
        "wider than the picture",
        lambda layers: min(field_backwards(layers), 64),
    ),
    "True without layers": (
        "bool",
        lambda layers: field_backwards(layers) if layers else not layers,
    ),
    "list emptied": ("in place", popped),
    "a tensor": ("Python int", lambda layers: torch.tensor(field_backwards(layers))),
    "a float": ("float is returned", lambda layers: float(field_backwards(layers))),
    "a pair": ("(5, 5)", lambda layers: (field_backwards(layers),) * 2),
    "nothing returned": ("nothing is returned", lambda layers: None),
}

# ---------------------------------------------------------------------------------------------

CHECKS = {
    "conv2d": image_branch.check_conv2d,
    "basic_block": image_branch.check_basic_block,
    "global_pool": image_branch.check_global_pool,
    "receptive_field": image_branch.check_receptive_field,
}
RIGHT = {
    "conv2d": RIGHT_CONVOLUTIONS,
    "basic_block": RIGHT_BLOCKS,
    "global_pool": RIGHT_POOLS,
    "receptive_field": RIGHT_FIELDS,
}
WRONG = {
    "conv2d": WRONG_CONVOLUTIONS,
    "basic_block": WRONG_BLOCKS,
    "global_pool": WRONG_POOLS,
    "receptive_field": WRONG_FIELDS,
}
FOUR = "of four sizes the third is the last but one"
EQUIVALENT: dict[str, dict[str, str]] = {
    "conv2d": {
        "2 -> -2 in `weight.shape[2:]`": FOUR,
        "2 -> -2 in `padded.shape[2]`": FOUR,
        "images -> weight in `images.new_zeros`": "both have one dtype and one device",
    },
    "global_pool": {
        "-> (3, 2) in `maps.mean(dim=(2, 3))`": "the order of the two dimensions means nothing",
        "2 -> -2 in `maps.mean(dim=(2, 3))`": FOUR,
    },
}

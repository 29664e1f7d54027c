"""Answers to task 2 of exercise 07: groups of parameters."""

import copy

import torch
from torch import nn

# ---------------------------------------------------------------------------------------------
# Right ones


def four_lists(model, lr, backbone_lr, weight_decay):
    groups = []
    for inside, rate in ((True, backbone_lr), (False, lr)):
        for matrices, decay in ((True, weight_decay), (False, 0)):
            params = [
                p
                for name, p in model.named_parameters()
                if p.requires_grad
                and ("backbone" in name.split(".")) == inside
                and (p.dim() >= 2) == matrices
            ]
            groups.append({"params": params, "lr": rate, "weight_decay": decay})
    return groups


def one_each(model, lr, backbone_lr, weight_decay):
    return [
        {
            "params": [p],
            "name": name,
            "lr": backbone_lr if f".{name}".find(".backbone.") >= 0 else lr,
            "weight_decay": weight_decay * (len(p.shape) > 1),
        }
        for name, p in model.named_parameters()
        if p.requires_grad
    ]


def by_dict(model, lr, backbone_lr, weight_decay):
    found = {}
    for name, p in filter(lambda each: each[1].requires_grad, model.named_parameters()):
        key = "backbone" in name, p.ndim < 2
        group = found.setdefault(key, {"params": []})
        group["params"].append(p)
        group["lr"] = backbone_lr if key[0] else lr
        group["weight_decay"] = 0.0 if key[1] else weight_decay
    return tuple(found.values())


def by_identity(model, lr, backbone_lr, weight_decay):
    inside = {
        id(p)
        for name, module in model.named_modules()
        if name.split(".")[-1] == "backbone"
        for p in module.parameters()
    }
    trains = [p for p in model.parameters() if p.requires_grad]
    return [
        dict(
            params=[
                p for p in trains if (id(p) in inside, p.squeeze().ndim > 1 or p.ndim > 1) == k
            ],
            lr=backbone_lr if k[0] else lr,
            weight_decay=weight_decay if k[1] else 0.0,
        )
        for k in ((False, False), (False, True), (True, False), (True, True))
    ]


RIGHT = [four_lists, one_each, by_dict, by_identity]

# ---------------------------------------------------------------------------------------------
# Wrong ones: one line of `grouped` changed


def in_backbone(name):
    return "backbone" in name.split(".")


def grouped(
    rate=lambda name, lr, backbone_lr: backbone_lr if in_backbone(name) else lr,
    decays=lambda name, p: p.ndim > 1,
    keeps=lambda name, p: p.requires_grad,
    tensor=lambda p: p,
    params=list,
    end=list,
):
    def parameter_groups(model, lr, backbone_lr, weight_decay):
        return end(
            {
                "params": params([tensor(p)]),
                "lr": rate(name, lr, backbone_lr),
                "weight_decay": weight_decay if decays(name, p) else 0.0,
            }
            for name, p in model.named_parameters()
            if keeps(name, p)
        )

    return parameter_groups


NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)


def by_module_type(model, lr, backbone_lr, weight_decay):
    groups = []
    for name, module in model.named_modules():
        for own, p in module.named_parameters(recurse=False):
            spared = own == "bias" or isinstance(module, NORMS)
            if p.requires_grad and not any(p is q for g in groups for q in g["params"]):
                rate = backbone_lr if "backbone" in name else lr
                decay = 0.0 if spared else weight_decay
                groups.append({"params": [p], "lr": rate, "weight_decay": decay})
    return groups


def norms_by_type(model, lr, backbone_lr, weight_decay):
    of_norm = {id(p) for m in model.modules() if isinstance(m, NORMS) for p in m.parameters()}
    return grouped(decays=lambda name, p: id(p) not in of_norm)(
        model, lr, backbone_lr, weight_decay
    )


def embeddings_spared(model, lr, backbone_lr, weight_decay):
    words = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    return grouped(decays=lambda name, p: p.ndim > 1 and id(p) not in words)(
        model, lr, backbone_lr, weight_decay
    )


def by_leaf_modules(model, lr, backbone_lr, weight_decay):
    groups = []
    for name, module in model.named_modules():
        for p in module.parameters(recurse=False):
            if p.requires_grad:
                rate = backbone_lr if "backbone" in name else lr
                decay = weight_decay if p.ndim > 1 else 0.0
                groups.append({"params": [p], "lr": rate, "weight_decay": decay})
    return groups


def leaves_only(model, lr, backbone_lr, weight_decay):
    groups = []
    for name, module in model.named_modules():
        if list(module.children()) or not name:
            continue
        for p in module.parameters():
            if p.requires_grad and not any(p is q for g in groups for q in g["params"]):
                rate = backbone_lr if "backbone" in name else lr
                decay = weight_decay if p.ndim > 1 else 0.0
                groups.append({"params": [p], "lr": rate, "weight_decay": decay})
    return groups


def in_a_list(model, lr, backbone_lr, weight_decay):
    inside = [p for name, p in model.named_parameters() if "backbone" in name.split(".")]
    rest = [p for p in model.parameters() if p not in inside]
    return [
        {"params": inside, "lr": backbone_lr, "weight_decay": weight_decay},
        {"params": rest, "lr": lr, "weight_decay": weight_decay},
    ]


def fixed_numbers(model, lr, backbone_lr, weight_decay):
    return four_lists(model, 0.02, 0.003, 0.05)


def the_optimiser(model, lr, backbone_lr, weight_decay):
    return torch.optim.AdamW(four_lists(model, lr, backbone_lr, weight_decay))


def one_dict(model, lr, backbone_lr, weight_decay):
    return {"backbone": four_lists(model, lr, backbone_lr, weight_decay)}


def lists_of_parameters(model, lr, backbone_lr, weight_decay):
    return [group["params"] for group in four_lists(model, lr, backbone_lr, weight_decay)]


def no_rate_for_heads(model, lr, backbone_lr, weight_decay):
    groups = four_lists(model, lr, backbone_lr, weight_decay)
    for group in groups[2:]:
        del group["lr"]
    return groups


def no_decay_said(model, lr, backbone_lr, weight_decay):
    groups = four_lists(model, lr, backbone_lr, weight_decay)
    for group in groups[1::2]:
        del group["weight_decay"]
    return groups


def named_pairs(model, lr, backbone_lr, weight_decay):
    return [
        {"params": [(name, p)], "lr": lr, "weight_decay": weight_decay}
        for name, p in model.named_parameters()
    ]


def names_alone(model, lr, backbone_lr, weight_decay):
    return [
        {"params": [name for name, _ in model.named_parameters()], "lr": lr, "weight_decay": 0.0}
    ]


def of_a_copy(model, lr, backbone_lr, weight_decay):
    return four_lists(copy.deepcopy(model), lr, backbone_lr, weight_decay)


def twice(model, lr, backbone_lr, weight_decay):
    groups = four_lists(model, lr, backbone_lr, weight_decay)
    return [*groups, {"params": list(model.parameters()), "lr": lr, "weight_decay": 0.0}]


def unfreezes(model, lr, backbone_lr, weight_decay):
    for p in model.parameters():
        p.requires_grad_(True)
    return four_lists(model, lr, backbone_lr, weight_decay)


def switches_to_eval(model, lr, backbone_lr, weight_decay):
    model.eval()
    return four_lists(model, lr, backbone_lr, weight_decay)


def the_courses_model(model, lr, backbone_lr, weight_decay):
    backbones = [*model.image.backbone.parameters(), *model.text.backbone.parameters()]
    inside = {id(p) for p in backbones}
    rest = [p for p in model.parameters() if id(p) not in inside]
    return [
        {"params": backbones, "lr": backbone_lr, "weight_decay": weight_decay},
        {"params": rest, "lr": lr, "weight_decay": weight_decay},
    ]


def one_group(model, lr, backbone_lr, weight_decay):
    return [{"params": list(model.parameters()), "lr": lr, "weight_decay": weight_decay}]


def forgets_return(model, lr, backbone_lr, weight_decay):
    four_lists(model, lr, backbone_lr, weight_decay)


def two_bugs(model, lr, backbone_lr, weight_decay):
    return grouped(
        rate=lambda name, one, other: one if in_backbone(name) else other,
        decays=lambda name, p: not name.endswith("bias"),
    )(model, lr, backbone_lr, weight_decay)


WRONG = {
    "rates swapped": (
        "rates are swapped",
        grouped(rate=lambda n, a, b: a if in_backbone(n) else b),
    ),
    "one rate": ("everything gets lr", grouped(rate=lambda n, a, b: a)),
    "the backbone's rate": ("everything gets backbone_lr", grouped(rate=lambda n, a, b: b)),
    "starts with backbone": (
        "inside a branch",
        grouped(rate=lambda n, a, b: b if n.startswith("backbone") else a),
    ),
    "inside only": ("at the top", grouped(rate=lambda n, a, b: b if ".backbone." in n else a)),
    "the image branch only": (
        "one branch's backbone",
        grouped(rate=lambda n, a, b: b if n.startswith(("image.backbone", "backbone")) else a),
    ),
    "all decays": ("everything decays", grouped(decays=lambda n, p: True)),
    "no decay": ("nothing decays", grouped(decays=lambda n, p: False)),
    "decay swapped": ("no weight decay are swapped", grouped(decays=lambda n, p: p.ndim < 2)),
    "biases only": ("scales of norms", grouped(decays=lambda n, p: not n.endswith("bias"))),
    "norms only": ("only norms are spared", norms_by_type),
    "by module types": ("PReLU", by_module_type),
    "the word bias": (
        "letters `bias`",
        grouped(decays=lambda n, p: p.ndim > 1 and "bias" not in n),
    ),
    "the word norm": (
        "letters `norm`",
        grouped(decays=lambda n, p: p.ndim > 1 and "norm" not in n),
    ),
    "both words": (
        "goes by names",
        grouped(decays=lambda n, p: not ("bias" in n or "norm" in n.lower())),
    ),
    "bn and bias": (
        "parameter.ndim < 2",
        grouped(decays=lambda n, p: not (n.endswith("bias") or "bn" in n or "norm." in n)),
    ),
    "one dimension": ("shape ()", grouped(decays=lambda n, p: p.ndim != 1)),
    "matrices only": ("kernels", grouped(decays=lambda n, p: p.ndim == 2)),
    "heads decay only": (
        "backbones do not decay",
        grouped(decays=lambda n, p: p.ndim > 1 and not in_backbone(n)),
    ),
    "backbones decay only": (
        "only backbones decay",
        grouped(decays=lambda n, p: p.ndim > 1 and in_backbone(n)),
    ),
    "embeddings spared": ("nn.Embedding is a matrix", embeddings_spared),
    "frozen ones too": ("frozen", grouped(keeps=lambda n, p: True)),
    "the rest left out": (
        "what should not decay is in no group",
        grouped(keeps=lambda n, p: p.requires_grad and p.ndim > 1),
    ),
    "backbones left out": (
        "the backbones are in no group",
        grouped(keeps=lambda n, p: p.requires_grad and not in_backbone(n)),
    ),
    "heads left out": (
        "only the backbones are in a group",
        grouped(keeps=lambda n, p: p.requires_grad and in_backbone(n)),
    ),
    "a shared weight twice": ("grouped twice", by_leaf_modules),
    "layers only": ("none of its layers", leaves_only),
    "fixed numbers": ("do not depend on the arguments", fixed_numbers),
    "the optimiser": ("an optimiser is returned", the_optimiser),
    "in a list": ("`in` a list", in_a_list),
    "one dict": ("a list of groups", one_dict),
    "lists": ("each group is a dict", lists_of_parameters),
    "no lr": ("no 'lr'", no_rate_for_heads),
    "no weight_decay": ("no 'weight_decay'", no_decay_said),
    "names and parameters": ("pairs of name", named_pairs),
    "names": ("a string is in a group", names_alone),
    "a copy": ("no parameter of the model", of_a_copy),
    "data": ("no parameter of the model", grouped(tensor=lambda p: p.data)),
    "an iterator": ("a list of parameters", grouped(params=iter)),
    "twice": ("grouped twice", twice),
    "unfreezes": ("requires_grad", unfreezes),
    "eval": ("the model is changed", switches_to_eval),
    "the word weight": (
        "called so as well",
        grouped(decays=lambda n, p: n.endswith("weight")),
    ),
    "the course's model": ("model.named_parameters()", the_courses_model),
    "one group": ("in the wrong group", one_group),
    "a tenth in the backbone": (
        "should have lr 0.003",
        grouped(rate=lambda n, a, b: a / 10 if in_backbone(n) else a),
    ),
    "no return": ("nothing is returned", forgets_return),
    "two bugs": ("two things", two_bugs),
}

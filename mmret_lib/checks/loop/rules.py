"""The rate and the decay of each parameter, and the rules that get them wrong."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

Setting = tuple[float, float]  # learning rate and weight decay


class Parameter:
    """A parameter with what a rule may go by."""

    def __init__(self, name: str, tensor: Tensor, owner: nn.Module) -> None:
        """Keep name, tensor and the module that has it."""
        self.name, self.tensor, self.owner = name, tensor, owner
        self.in_backbone = "backbone" in name.split(".")
        self.few = tensor.ndim < 2
        self.is_bias = name.endswith("bias")
        self.of_norm = "Norm" in type(owner).__name__


def parameters_of(model: nn.Module) -> list[Parameter]:
    """All parameters of a model, each once."""
    return [
        Parameter(name, tensor, model.get_submodule(name.rpartition(".")[0]))
        for name, tensor in model.named_parameters()
    ]


Rule = Callable[[Parameter, float, float, float], Setting | None]


def right(p: Parameter, lr: float, backbone_lr: float, decay: float) -> Setting | None:
    """The rate and decay of a parameter; None: it is in no group."""
    if not p.tensor.requires_grad:
        return None
    return backbone_lr if p.in_backbone else lr, 0.0 if p.few else decay


def decaying(decays: Callable[[Parameter], bool]) -> Rule:
    """A rule that differs in what decays."""

    def rule(p: Parameter, lr: float, backbone_lr: float, decay: float) -> Setting | None:
        setting = right(p, lr, backbone_lr, decay)
        return setting and (setting[0], decay if decays(p) else 0.0)

    return rule


def at_rates(backbone: Callable[[Parameter], bool], swapped: bool = False) -> Rule:
    """A rule that differs in what counts as backbone, or mixes up the rates."""

    def rule(p: Parameter, lr: float, backbone_lr: float, decay: float) -> Setting | None:
        setting = right(p, lr, backbone_lr, decay)
        return setting and (backbone_lr if backbone(p) != swapped else lr, setting[1])

    return rule


def without(left_out: Callable[[Parameter], bool]) -> Rule:
    """A rule that leaves parameters out."""

    def rule(p: Parameter, lr: float, backbone_lr: float, decay: float) -> Setting | None:
        return None if left_out(p) else right(p, lr, backbone_lr, decay)

    return rule


def with_frozen(p: Parameter, lr: float, backbone_lr: float, decay: float) -> Setting | None:
    """Frozen parameters are grouped like all others."""
    return backbone_lr if p.in_backbone else lr, 0.0 if p.few else decay


def together(one: Rule, other: Rule) -> Rule:
    """A rule with the rates of one and the decay of another."""

    def rule(p: Parameter, lr: float, backbone_lr: float, decay: float) -> Setting | None:
        first, second = one(p, lr, backbone_lr, decay), other(p, lr, backbone_lr, decay)
        return None if first is None or second is None else (first[0], second[1])

    return rule


NDIM = "let the shape decide, parameter.ndim < 2"
WRONG_RULES: dict[str, Rule] = {
    "the two rates are swapped: backbones get backbone_lr, everything else lr": at_rates(
        lambda p: p.in_backbone, swapped=True
    ),
    "everything gets lr: parameters with `backbone` in their name get backbone_lr": at_rates(
        lambda p: False
    ),
    "everything gets backbone_lr: what is in no backbone gets lr": at_rates(lambda p: True),
    "a backbone inside a branch is not found: its name begins with the branch's, as in "
    "image.backbone.0.weight, so look for `backbone` among all parts, name.split('.')": at_rates(
        lambda p: p.name.startswith("backbone")
    ),
    "a backbone at the top is not found: its name begins with it, as in backbone.0.weight, so "
    "look for `backbone` among all parts, name.split('.')": at_rates(
        lambda p: p.in_backbone and not p.name.startswith("backbone")
    ),
    "one branch's backbone is not found: both get backbone_lr": at_rates(
        lambda p: p.in_backbone and not p.name.startswith("text.")
    ),
    "weight decay and no weight decay are swapped: matrices and kernels get it": decaying(
        lambda p: p.few
    ),
    "everything decays: biases, norms and all else with fewer than two dimensions get "
    "weight_decay 0": decaying(lambda p: True),
    "nothing decays: what has two dimensions or more gets weight_decay": decaying(lambda p: False),
    "the scales of norms decay, only biases are spared: a norm's weight has one dimension, so "
    + NDIM: decaying(lambda p: not p.is_bias),
    "what is called weight decays, and the scales of norms are called so as well: "
    + NDIM: decaying(lambda p: p.name.endswith("weight")),
    "biases of linear layers and convolutions decay, only norms are spared: " + NDIM: decaying(
        lambda p: not p.of_norm
    ),
    "a matrix goes without decay because its name holds the letters `bias`: " + NDIM: decaying(
        lambda p: not p.few and "bias" not in p.name
    ),
    "a matrix goes without decay because its name holds the letters `norm`: " + NDIM: decaying(
        lambda p: not p.few and "norm" not in p.name.lower()
    ),
    "it goes by names, and names tell too little: norms are called 1, last or bn, and a matrix may "
    "be called normaliser or unbiased. " + NDIM[0].upper() + NDIM[1:]: decaying(
        lambda p: not any(word in p.name.lower() for word in ("bias", "norm"))
    ),
    "names alone decide, and those of norms in a Sequential are numbers: " + NDIM: decaying(
        lambda p: not (p.is_bias or any(word in p.name for word in ("norm.", "bn")))
    ),
    "only norms and biases by kind are spared, and a scale of another layer (PReLU) or a learned "
    "temperature decays: " + NDIM: decaying(lambda p: not (p.is_bias or p.of_norm)),
    "a parameter of shape (), such as a learned temperature, decays: it has fewer than two "
    "dimensions as well, parameter.ndim < 2": decaying(lambda p: p.tensor.ndim != 1),
    "kernels of convolutions go without decay: they have four dimensions, and two or more decay": (
        decaying(lambda p: p.tensor.ndim == 2)
    ),
    "backbones do not decay at all: their matrices and kernels get weight_decay too": decaying(
        lambda p: not p.few and not p.in_backbone
    ),
    "only backbones decay: the other matrices get weight_decay too": decaying(
        lambda p: not p.few and p.in_backbone
    ),
    "embeddings are spared: an nn.Embedding is a matrix, and decays": decaying(
        lambda p: not p.few and not isinstance(p.owner, nn.Embedding)
    ),
    "frozen parameters are in a group: leave out what has requires_grad False": with_frozen,
    "what should not decay is in no group at all, and would not train: give it a group with "
    "weight_decay 0": without(lambda p: p.few),
    "the backbones are in no group, and would not train": without(lambda p: p.in_backbone),
    "only the backbones are in a group: everything else has to train as well": without(
        lambda p: not p.in_backbone
    ),
    "a parameter that stands in the model itself, in none of its layers (a temperature), is in no "
    "group": without(lambda p: "." not in p.name),
}

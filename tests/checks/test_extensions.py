"""The formulas of exercise 13 are the library's, or published ones."""

import math

import torch
import torch.nn.functional as F

from mmret_lib.checks.engine.arguments import close
from mmret_lib.checks.engine.pairs import batch
from mmret_lib.checks.extras import naming, temperatures, views
from mmret_lib.losses import SimCLR


def test_the_learned_temperature_is_the_librarys() -> None:
    loss = SimCLR(0.07, learnable=True)
    u = temperatures.inverse(0.07, 0.01, 10.0)
    assert math.isclose(loss.unbounded.item(), u, rel_tol=1e-5)
    ours = temperatures.temperature(torch.tensor(u), 0.01, 10.0)
    assert math.isclose(float(ours), loss.temperature, rel_tol=1e-5)


def test_two_views_by_a_plain_loop_over_equation_1() -> None:
    emb, other_view = batch(4, 3, 1)
    z = [*F.normalize(emb), *F.normalize(other_view)]
    costs = []
    for n in range(8):
        exps = [math.exp(float(z[n] @ z[m]) / 0.3) for m in range(8)]
        costs.append(-math.log(exps[(n + 4) % 8] / (sum(exps) - exps[n])))
    assert math.isclose(float(views.within_branch(emb, other_view, 0.3)), sum(costs) / 8)


def test_a_single_prompt_a_class_is_a_plain_search() -> None:
    image_emb, prompt_emb = batch(6, 4, 2)
    found = F.cosine_similarity(image_emb[:, None], prompt_emb[None], dim=2).argmax(dim=1)
    assert close(naming.zero_shot(image_emb, prompt_emb, torch.arange(6)), found)

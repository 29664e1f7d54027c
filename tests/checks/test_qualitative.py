"""The formulas of exercise 09 beside the library's and torch's own."""

import torch
import torch.nn.functional as F

from mmret_lib.checks import qualitative as tasks
from mmret_lib.data import load_pairs
from mmret_lib.data.judgements import scene_truth


def test_the_right_answers_are_those_of_the_generator() -> None:
    pairs = load_pairs("scenes", split="test", size=60, progress=False)
    assert pairs.caption_info and pairs.image_info
    claims = [info["claim"] for info in pairs.caption_info]
    right = tasks.TRUTH_TASK.right(claims, [info["scene"] for info in pairs.image_info])
    known = torch.zeros(len(claims), len(pairs), dtype=torch.bool)
    known[tuple(torch.tensor(scene_truth(pairs).t2i).T)] = True
    assert torch.equal(right, known.T)
    assert right.sum() > len(claims), "some captions are true of other pictures"


def test_each_query_gives_k_places() -> None:
    for case in tasks.HUB_TASK.cases:
        similarity, k = case.args
        counts, _ = tasks.HUB_TASK.right(similarity, k)
        assert torch.allclose(counts.sum(), torch.tensor(float(k * len(similarity))).double())


def test_the_share_of_the_gap_is_of_all_distances() -> None:
    for case in tasks.GAP_TASK.cases:
        image_emb, text_emb = (F.normalize(emb) for emb in case.args)
        gap, share = tasks.GAP_TASK.right(image_emb, text_emb)
        total = float(torch.cdist(image_emb, text_emb).square().mean())
        assert abs(gap**2 - share * total) < 1e-9


def test_the_plane_holds_the_two_largest_variances() -> None:
    for case in tasks.PLANE_TASK.cases:
        [emb] = case.args
        plane = tasks.PLANE_TASK.right(emb)
        widths = F.pad(torch.linalg.svdvals(emb - emb.mean(dim=0)), (0, 1))[:2]
        assert torch.allclose(plane.norm(dim=0), widths, atol=1e-9)
        assert (plane.amax(dim=0) >= -plane.amin(dim=0) - 1e-9).all()

"""What a recall may be compared with: only the same photos, in pools of the same size."""

import re

import pytest

from mmret_lib.metrics.published import comparable_with


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ("coco", "test", 5000, 25000, "1k"),
            r'^with published "COCO 1K" figures: Karpathy.*five f',
        ),
        (("coco", "test", 5000, 25000, "full"), r'^with published "COCO 5K" figures: .* at once$'),
        (("coco", "test", 5000, 25010, "full"), "with 25,010 captions; many papers keep 25,000"),
        (("coco", "test", 5000, 5000, "1k"), "with 5,000 captions; many papers keep 25,000"),
        (("coco", "val2017", 5000, 25014, "1k"), r'^not .*"COCO 5K" or "COCO 1K".*, not val2017$'),
        (("coco", "val2017", 5000, 25014, "full"), "^not .*Karpathy's test split .--split test"),
        (("coco", "val", 5000, 25010, "1k"), "^not .* not val$"),
        (("coco", "val+test", 10000, 50000, "1k"), "^not .* not val.test$"),
        (
            ("coco", "test", 1000, 5000, "full"),
            "^not .*1,000 photos, not the 5,000: a smaller pool",
        ),
        (("coco", "test", 4999, 25000, "full"), "^not .*4,999 photos"),
        (
            ("flickr30k", "test", 1000, 5000, "full"),
            '^with published "Flickr30K" .*1,000 photos at',
        ),
        (("flickr30k", "test", 5000, 5000, "1k"), "^not .*protocol 1k is for COCO"),
        (("flickr8k", "dev", 1000, 5000, "full"), "^not .*the official test split, not dev$"),
        (("flickr8k", "test", 132, 660, "full"), "^not .*132 photos, not the 1,000"),
        (("scenes", "test", 5000, 25000, "1k"), '^not with "COCO 1K" figures: .* are scenes'),
        (("", "", 5000, 25000, "1k"), "^not .* are others"),
        (("scenes", "test", 1000, 5000, "full"), "^$"),
        (("folder", "all", 1000, 5000, "full"), "^$"),
    ],
)
def test_only_the_same_pool_is_comparable(given, said):
    assert re.search(said, comparable_with(*given)), comparable_with(*given)

"""Say which published figures a recall may be compared with.

A recall depends on the pool: which photos, how many, and how many captions of each. Papers on COCO
use Karpathy's test split: "COCO 5K" ranks its 5,000 photos at once, "COCO 1K" is the mean over five
folds of 1,000 in the order of his file (Karpathy & Fei-Fei, arXiv 1412.2306).
"""

# data set: photos of its test split, and protocol -> the name of such figures in papers
PUBLISHED = {
    "coco": (5000, {"full": '"COCO 5K"', "1k": '"COCO 1K"'}),
    "flickr30k": (1000, {"full": '"Flickr30K"'}),
    "flickr8k": (1000, {"full": '"Flickr8K"'}),
}
CAPTIONS = 5  # of a photo that many papers keep


def comparable_with(name: str, split: str, images: int, captions: int, protocol: str) -> str:
    """Say in a sentence what the recalls of an evaluation may be compared with.

    Args:
        name: of the data set, as `load_pairs` takes it.
        split: which part of it; of COCO, "test" is Karpathy's.
        images: photos that were ranked.
        captions: captions that were ranked.
        protocol: "full" or "1k".

    Returns:
        The sentence, or "" for data sets of which nobody publishes figures.
    """
    if name not in PUBLISHED:
        if protocol == "1k":
            return f'not with "COCO 1K" figures: these photos are {name or "others"}, not COCO'
        return ""
    size, names = PUBLISHED[name]
    if protocol not in names:
        return f"not with published figures: protocol {protocol} is for COCO, not for {name}"
    figures, whole = names[protocol], " or ".join(names.values())
    official = "Karpathy's test split" if name == "coco" else "the official test split"
    if split != "test":
        remedy = " (--split test, with dataset_coco.json near the photos)" if name == "coco" else ""
        return f"not with published {whole} figures, which are on {official}{remedy}, not {split}"
    if images != size:
        easier = ": a smaller pool is easier" if images < size else ""
        return f"not with published {whole} figures: {images:,} photos, not the {size:,}{easier}"
    pool = (
        "five folds of 1,000 in its order" if protocol == "1k" else f"its {size:,} photos at once"
    )
    sentence = f"with published {figures} figures: {official}, {pool}"
    if captions != CAPTIONS * size:
        sentence += (
            f" (with {captions:,} captions; many papers keep {CAPTIONS * size:,}, five each)"
        )
    return sentence

"""Similarity within a branch: image with image, caption with caption, as more terms of the loss.

A loss of the course compares images with texts. Shown a second view of the same images (augmented
in another way) and a second caption of each, it can compare image with image and caption with
caption by the very same formula, as SimCLR did for images alone (arXiv 2002.05709).
"""

from collections.abc import Callable

from torch import Tensor, nn

from mmret_lib.losses.base import PairLoss


class WithinBranches(nn.Module):
    """A loss between the branches, and the same loss within each, on a second view of every pair.

        (L(image, text) + L(image', text')) / 2  +  images * L(image, image')
                                                 +  captions * L(text, text')

    L is `loss`, both its directions; image' is another augmentation of the image, text' another of
    its captions. The bracket is the usual loss between the branches, averaged over both views,
    because the second view is embedded anyway. With both weights 0 only the bracket is left:
    compare with that to see what the terms within a branch add.

    Args:
        loss: compares rows of two (B, D).
        second_views: called with the batch's image ids and caption ids, (B,) each; returns the
            embeddings of its second views, (B, D) each, and the ids of the second captions (B,),
            all on the embeddings' device. In a training: `training.second_views.SecondViews`.
        images: weight of the term between images, at least 0.
        captions: weight of the term between captions, at least 0.

    Raises:
        ValueError: a weight below 0.
    """

    def __init__(
        self,
        loss: PairLoss,
        second_views: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]],
        images: float = 1.0,
        captions: float = 1.0,
    ) -> None:
        super().__init__()
        if min(images, captions) < 0:
            raise ValueError(f"weights of {images} and {captions}: they must be at least 0")
        self.loss, self.images, self.captions = loss, images, captions
        self.second_views = second_views

    def forward(
        self, image_emb: Tensor, text_emb: Tensor, *, image_ids: Tensor, caption_ids: Tensor
    ) -> Tensor:
        """Return the loss of a batch: embeddings (B, D) and ids (B,) to a scalar."""
        image_two, text_two, second_ids = self.second_views(image_ids, caption_ids)
        first = self.loss(image_emb, text_emb, image_ids=image_ids, caption_ids=caption_ids)
        second = self.loss(image_two, text_two, image_ids=image_ids, caption_ids=second_ids)
        value: Tensor = (first + second) / 2
        if self.images:
            value = value + self.images * self.loss(image_emb, image_two, image_ids=image_ids)
        if self.captions:
            ids = {"image_ids": image_ids, "caption_ids": caption_ids}
            value = value + self.captions * self.loss(text_emb, text_two, **ids)
        return value

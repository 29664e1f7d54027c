"""Similarity within a branch: image with image, caption with caption, as one more term of the loss.

A loss of the course compares images with texts. Shown a second view of the same images (augmented
in another way) and a second caption of each, it can compare image with image and caption with
caption by the very same formula, as SimCLR did for images alone (arXiv 2002.05709). The batches of
the trainer hold one view; the second one is fetched here, by the images' ids.
"""

import torch
from torch import Tensor, nn

from mmret_lib.data.augment import AUGMENTATIONS
from mmret_lib.data.store import Store
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.losses.base import PairLoss


class WithinBranches(nn.Module):
    """A loss between the branches, and the same loss within each, on a second view of every pair.

        (L(image, text) + L(image', text')) / 2  +  images * L(image, image')
                                                 +  captions * L(text, text')

    L is `loss`, both its directions; image' is another augmentation of the image, text' another of
    its captions (the same one where it has no other). Half of the first bracket is what a training
    without terms within pays; the other half is there because the second view costs its embedding
    anyway. With both weights 0 the bracket alone is left: the fair comparison for the terms within.

    Args:
        loss: compares rows of two (B, D).
        model: the one that is trained; embeds the second views.
        store: the training pairs, which `image_ids` index.
        images, captions: weights of the two terms within, at least 0.
        augment: "shift" or "crop", as in `TrainConfig`.

    Chance comes from torch's own generator, whose state a snapshot keeps: training can be resumed.
    """

    def __init__(
        self,
        loss: PairLoss,
        model: DualEncoder,
        store: Store,
        images: float = 1.0,
        captions: float = 1.0,
        augment: str = "shift",
    ) -> None:
        super().__init__()
        if min(images, captions) < 0:
            raise ValueError(f"weights of {images} and {captions}: they must be at least 0")
        self.loss, self.images, self.captions = loss, images, captions
        self.augment = AUGMENTATIONS[augment]
        self.store = store
        self.words = torch.from_numpy(
            store.token_ids(model.text).astype("int64")
        )  # (M, L), -1 after
        owner = torch.from_numpy(store.owner.copy())  # (M,)
        self.many = torch.bincount(owner)  # (N,) captions of each image
        self.first = self.many.cumsum(0) - self.many  # (N,)
        # In a tuple: as a submodule the model's weights would be the loss's too, and trained twice.
        self._model = (model,)

    def forward(
        self, image_emb: Tensor, text_emb: Tensor, *, image_ids: Tensor, caption_ids: Tensor
    ) -> Tensor:
        """Embeddings (B, D) of the first views, ids (B,) as the trainer gives them -> a scalar."""
        again = self.second_captions(image_ids.cpu(), caption_ids.cpu())  # (B,)
        image_two, text_two = self.second_views(image_ids.cpu(), again, image_emb.device)
        ids_two = torch.from_numpy(self.store.caption_ids[again.numpy()]).to(caption_ids.device)
        value = self.loss(image_emb, text_emb, image_ids=image_ids, caption_ids=caption_ids)
        value = value + self.loss(image_two, text_two, image_ids=image_ids, caption_ids=ids_two)
        value = value / 2
        if self.images:
            value = value + self.images * self.loss(image_emb, image_two, image_ids=image_ids)
        if self.captions:
            ids = {"image_ids": image_ids, "caption_ids": caption_ids}
            value = value + self.captions * self.loss(text_emb, text_two, **ids)
        return value

    def second_captions(self, image_ids: Tensor, caption_ids: Tensor) -> Tensor:
        """(B,): for each image the row of one of its captions, with another text if it has one."""
        chosen = []
        for image, shown in zip(image_ids.tolist(), caption_ids.tolist(), strict=True):
            first, many = int(self.first[image]), int(self.many[image])
            own = self.store.caption_ids[first : first + many]
            others = [row for row in range(many) if own[row] != shown] or list(range(many))
            chosen.append(first + others[int(torch.randint(len(others), ()))])
        return torch.tensor(chosen)

    def second_views(
        self, image_ids: Tensor, captions: Tensor, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Embeddings (B, D) of the images, augmented anew, and of the captions."""
        generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
        pixels = torch.from_numpy(self.store[image_ids.numpy()]).to(device)
        words = self.words[captions]
        words = words[:, : int((words >= 0).sum(dim=1).max())]
        mask = (words >= 0).long()
        tokens = {"input_ids": (words * mask).to(device), "attention_mask": mask.to(device)}
        return self._model[0](self.augment(pixels, generator, 0, 1), tokens)

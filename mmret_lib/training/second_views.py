"""Embed a second view of each pair of a batch, for the terms within a branch (`losses.within`).

The trainer's batches hold one view of each pair. The second one is fetched here, by the pairs' ids.
"""

from typing import Any

import torch
from torch import Tensor

from mmret_lib.data.augment import AUGMENTATIONS
from mmret_lib.data.features import Features
from mmret_lib.data.store import Store
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.files.errors import DataError
from mmret_lib.training.distributed import Processes


class SecondViews:
    """Embed another augmentation of each image of a batch, and another of its captions.

    Several processes embed the second views as they do the first: process 0 draws for all, each
    embeds its share, and all gather the whole batch with gradients. Random numbers come from
    torch's own generator, whose state a snapshot keeps: training can be resumed.

    Args:
        store: the packed training pairs, which the image ids index.
        augment: "shift" or "crop", as in `TrainConfig`.

    Raises:
        DataError: the pairs are kept features, of which there are no second views.

    Example:
        >>> loss = WithinBranches(SimCLR(), SecondViews(model, store), images=0.2, captions=0.2)
        >>> Trainer(model, loss, store).fit()
    """

    def __init__(self, model: DualEncoder, store: Store | Features, augment: str = "shift") -> None:
        if isinstance(store, Features):
            raise DataError(
                "second views are made of pixels and of captions, and kept features are neither; "
                "give the packed store: pack(pairs, model.image.image_size)"
            )
        self.model, self.store, self.augment = model, store, augment
        token_ids = store.token_ids(model.text).astype("int64")
        self.token_ids = torch.from_numpy(token_ids)  # (M, L), -1 after a caption's last
        counts = torch.bincount(torch.from_numpy(store.owner.copy()))  # (N,) captions of each image
        self.spans = torch.stack([counts.cumsum(0) - counts, counts.cumsum(0)], dim=1)  # (N, 2)

    def __call__(self, image_ids: Tensor, caption_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the second views of a whole batch, the same in every process.

        Args:
            image_ids: (B,), rows of the store.
            caption_ids: (B,), of the captions that the first views show.

        Returns:
            Embeddings of the images and of the captions, (B, dim) each, and the ids of the second
            captions, (B,).
        """
        processes = Processes.join(str(self.model.device))
        drawn: Any = None
        if processes.first:
            captions = self.draw_captions(image_ids.cpu(), caption_ids.cpu())  # (B,)
            drawn = captions, int(torch.randint(2**31, ()))
        captions, seed = processes.broadcast(drawn)
        mine = processes.shard(len(image_ids))
        pixels = torch.from_numpy(self.store[image_ids[mine].cpu().numpy()]).to(self.model.device)
        generator = torch.Generator().manual_seed(seed)
        augment = AUGMENTATIONS[self.augment]
        images = augment(pixels, generator, processes.rank, processes.count)
        image_emb = self.model.image(images)
        text_emb = self.model.text(**self._tokens(captions[mine]))
        gather = processes.all_gather
        emb = self.model.standardised(gather(image_emb), gather(text_emb))
        second_ids = torch.from_numpy(self.store.caption_ids[captions.numpy()])
        return *emb, second_ids.to(caption_ids.device)

    def draw_captions(self, image_ids: Tensor, caption_ids: Tensor) -> Tensor:
        """Draw for each image the row of a caption with another text, if it has one: (B,)."""
        rows = []
        for image, shown in zip(image_ids.tolist(), caption_ids.tolist(), strict=True):
            own = range(*self.spans[image].tolist())
            others = [row for row in own if self.store.caption_ids[row] != shown] or own
            rows.append(others[int(torch.randint(len(others), ()))])
        return torch.tensor(rows)

    def _tokens(self, captions: Tensor) -> dict[str, Tensor]:
        token_ids = self.token_ids[captions]  # (b, L)
        token_ids = token_ids[:, : int((token_ids >= 0).sum(dim=1).max())]
        mask = (token_ids >= 0).long()
        tokens = {"input_ids": token_ids * mask, "attention_mask": mask}
        return {name: value.to(self.model.device) for name, value in tokens.items()}

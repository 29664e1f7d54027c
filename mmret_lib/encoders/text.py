"""The text branch: a BERT, and one linear projection into the space shared with the images."""

import json
import os
from collections.abc import Iterable, Sequence

from torch import Tensor, nn
from transformers import AutoModel, DistilBertConfig, PreTrainedModel, PreTrainedTokenizerBase

from mmret_lib.encoders.checkpoints import model_folder, read_bert
from mmret_lib.encoders.pooling import CHOOSE, FILE, POOLINGS, pool, read_pooling, write_pooling
from mmret_lib.encoders.weights import write_safetensors
from mmret_lib.encoders.wordpiece import train_wordpiece, valid_unicode
from mmret_lib.files.errors import DataError
from mmret_lib.files.places import shipped, user_path
from mmret_lib.files.whole import whole_folder

SHIPPED = ("mini", "pocket")  # backbones whose weights come with the course


class TextEncoder(nn.Module):
    """A BERT and a linear projection: token ids (B, L) -> embeddings (B, dim).

    Args:
        backbone: "mini" (DistilBERT of 2 layers, 128 features), "pocket" (of 3 layers, 160
            features, distilled from all-MiniLM-L6-v2 for photos' captions), or any BERT-family or
            sentence-transformers model by its name on the hub ("distilbert-base-uncased",
            "sentence-transformers/all-MiniLM-L6-v2") or by its folder.
        weights: "mini" or "pocket" (what the course ships, for the backbone of that name),
            "pretrained" (the named model's own), or None for random ones: the named model's
            vocabulary and sizes are still needed, the mini one learns its vocabulary from
            `captions`.
        dim: length of an embedding.
        pooling: "first" takes the first token's state (DistilBERT has no pooler); "mean" the mean
            and "max" the largest, number by number, over the tokens that are not padding. "auto"
            does what the folder's own 1_Pooling/config.json says, and "first" without one.
        max_length: tokens kept of a text, the two special ones counted.
        captions: texts to learn the vocabulary from; only read for "mini" without weights.

    Raises:
        DataError: a setting that does not exist or files that do not fit; a pickle.
        MissingFile: files neither here nor on the hub; the message says where to put them.
    """

    def __init__(
        self,
        backbone: str | os.PathLike[str] = "mini",
        weights: str | None = "mini",
        dim: int = 128,
        pooling: str = "auto",
        max_length: int = 64,
        captions: Iterable[str] | None = None,
    ) -> None:
        super().__init__()
        if pooling not in ("auto", *POOLINGS):
            raise DataError(f"No pooling {pooling!r}: {CHOOSE}, or auto.")
        own = backbone if backbone in SHIPPED else "pretrained"
        if weights not in (own, None):
            raise DataError(
                f"There are no {weights!r} weights for the text backbone {str(backbone)!r}: "
                f"choose {own} or none (--text-weights)."
            )
        self.backbone_name = str(backbone)
        self.pretrained_weights = weights
        self.pooling = pooling if pooling != "auto" else "first"
        self.max_length = max_length
        self.backbone: PreTrainedModel
        self.tokenizer: PreTrainedTokenizerBase
        if backbone == "mini" and weights is None:
            self.backbone, self.tokenizer = _random_mini(captions, max_length)
        else:
            if backbone in SHIPPED:
                folder = shipped(f"{backbone}/text", "Or train without: --text-weights none.")
            else:
                folder = model_folder(str(backbone), weights is not None, optional=(FILE,))
            self.backbone, self.tokenizer = read_bert(folder, weights is not None)
            if pooling == "auto":
                self.pooling = read_pooling(folder)
        # A backbone that uses only the distances between tokens has no such limit.
        longest = getattr(self.backbone.config, "max_position_embeddings", max_length)
        embeddings = getattr(self.backbone, "embeddings", None)
        padding = getattr(getattr(embeddings, "position_embeddings", None), "padding_idx", None)
        if padding is not None:  # RoBERTa's first token has the position after this one
            longest -= padding + 1
        if not 3 <= max_length <= longest:
            raise DataError(
                f"max_length is {max_length}, but the text backbone {self.backbone_name!r} takes "
                f"3 to {longest} tokens."
            )
        self.features: int = self.backbone.config.hidden_size
        self.projection = nn.Linear(self.features, dim)

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Turn texts into `input_ids` and `attention_mask`, int64 (B, L), padded to the longest.

        Raises:
            TypeError: not a sequence of strings (one string alone is the usual mistake).
        """
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise TypeError("tokenize takes a list of strings")
        tokens = self.tokenizer(
            [valid_unicode(text) for text in texts],
            padding=True,
            truncation=True,
            max_length=self.max_length,
            return_tensors="pt",
        )
        return {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}

    def vocabulary(self) -> str:
        """Return a string that changes whenever `tokenize` would give other ids.

        It is the key of stored token ids.
        """
        rules = json.loads(self.tokenizer.backend_tokenizer.to_str())
        for state in ("truncation", "padding"):  # left behind by the last call
            rules.pop(state, None)
        return json.dumps([rules, self.max_length], sort_keys=True)

    def extract_features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Run the backbone alone: ids and mask, both (B, L) -> (B, features)."""
        output = self.backbone(input_ids=input_ids, attention_mask=attention_mask)
        states: Tensor = output.last_hidden_state  # (B, L, features)
        return pool(states, attention_mask, self.pooling)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        features: Tensor | None = None,
    ) -> Tensor:
        """Embed what `tokenize` gives, both (B, L) -> (B, dim), not normalised.

        Kept features (B, features), float, given in their place, are only projected.

        Raises:
            ValueError: neither or both are given, or features of another shape.
        """
        if features is None and input_ids is not None and attention_mask is not None:
            features = self.extract_features(input_ids, attention_mask)
        elif features is None or input_ids is not None or attention_mask is not None:
            raise ValueError("give input_ids and attention_mask, or features in their place")
        elif features.ndim != 2 or features.shape[1] != self.features:
            raise ValueError(
                f"kept features must be (B, {self.features}), got {tuple(features.shape)}"
            )
        else:
            features = features.to(self.projection.weight.dtype)
        embeddings: Tensor = self.projection(features)
        return embeddings

    def save_backbone(self, folder: str | os.PathLike[str]) -> None:
        """Write backbone and vocabulary, but no projection, as a folder that transformers reads."""
        with whole_folder(user_path(folder)) as draft:
            write_safetensors(draft / "model.safetensors", self.backbone)
            self.backbone.config.save_pretrained(draft)
            self.tokenizer.save_pretrained(draft)
            write_pooling(draft, self.pooling, self.features)


def _random_mini(
    captions: Iterable[str] | None, max_length: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    if captions is None:
        raise DataError(
            "The mini text backbone without weights learns its vocabulary from captions: "
            "give it those of the pairs to train on."
        )
    tokenizer = train_wordpiece(captions)
    config = DistilBertConfig(
        vocab_size=len(tokenizer),
        dim=128,
        n_layers=2,
        n_heads=4,
        hidden_dim=512,
        max_position_embeddings=max(64, max_length),
        dropout=0.05,
        attention_dropout=0.05,
    )
    return AutoModel.from_config(config), tokenizer

"""The text branch: a BERT, and one linear projection into the space shared with the images."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from tokenizers.trainers import WordPieceTrainer
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    DistilBertConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from mmret_lib.encoders import weights as files
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.places import shipped
from mmret_lib.files.whole import whole_folder

POOLINGS = ("first", "mean")
LOCAL = {"local_files_only": True, "trust_remote_code": False}
SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}


class TextEncoder(nn.Module):
    """A BERT and a linear projection: token ids (B, L) -> embeddings (B, dim).

    Args:
        backbone: "mini" (DistilBERT of 2 layers, 128 features), or any BERT-family model by its
            name on the hub ("distilbert-base-uncased", "distilbert-base-multilingual-cased") or by
            its folder, in the layout that transformers writes.
        weights: "mini" (what the course ships, for the mini backbone), "pretrained" (the named
            model's own), or None for random ones: the named model's vocabulary and sizes are
            still needed, the mini one learns its vocabulary from `captions`.
        dim: length of an embedding.
        pooling: "first" takes the first token's state (DistilBERT has no pooler), "mean" the mean
            over the tokens that are not padding.
        max_length: tokens kept of a text, the two special ones counted.
        captions: texts to learn the vocabulary from; only read for "mini" without weights.

    Raises:
        DataError: a setting that does not exist or files that do not fit; a pickle.
        MissingFile: files neither here nor to be fetched; says where to put them.
    """

    def __init__(
        self,
        backbone: str | os.PathLike[str] = "mini",
        weights: str | None = "mini",
        dim: int = 128,
        pooling: str = "first",
        max_length: int = 64,
        captions: Iterable[str] | None = None,
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise DataError(f"No pooling {pooling!r}: choose {' or '.join(POOLINGS)}.")
        own = "mini" if backbone == "mini" else "pretrained"
        if weights not in (own, None):
            raise DataError(
                f"There are no {weights!r} weights for the text backbone {str(backbone)!r}: "
                f"choose {own} or none (--text-weights)."
            )
        self.backbone_name = str(backbone)
        self.pooling = pooling
        self.max_length = max_length
        if backbone == "mini" and weights is None:
            if captions is None:
                raise DataError(
                    "The mini text backbone without weights learns its vocabulary from captions: "
                    "give captions=pairs.captions."
                )
            self.tokenizer: PreTrainedTokenizerBase = train_wordpiece(captions)
            config = DistilBertConfig(
                vocab_size=len(self.tokenizer),
                dim=128,
                n_layers=2,
                n_heads=4,
                hidden_dim=512,
                max_position_embeddings=max(64, max_length),
                dropout=0.05,
                attention_dropout=0.05,
            )
            self.backbone = AutoModel.from_config(config)
        else:
            folder = (
                shipped("mini/text", "Or train without: --text-weights none.")
                if backbone == "mini"
                else _model_folder(str(backbone), with_weights=weights is not None)
            )
            self.backbone, self.tokenizer = _read_bert(folder, weights is not None)
        positions = self.backbone.config.max_position_embeddings
        if not 3 <= max_length <= positions:
            raise DataError(
                f"max_length is {max_length}, but the text backbone {self.backbone_name!r} takes "
                f"3 to {positions} tokens."
            )
        self.features: int = self.backbone.config.hidden_size
        self.projection = nn.Linear(self.features, dim)

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """`input_ids` and `attention_mask` of the texts, int64 (B, L), padded to the longest.

        Raises:
            TypeError: not a sequence of strings (one string alone is the usual slip).
        """
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise TypeError("tokenize takes a list of strings")
        tokens = self.tokenizer(
            [_valid_unicode(text) for text in texts],
            padding=True,
            truncation=True,
            max_length=self.max_length,
            return_tensors="pt",
        )
        return {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}

    def vocabulary(self) -> str:
        """Names what `tokenize` makes of a text: the same string, the same ids."""
        rules = json.loads(self.tokenizer.backend_tokenizer.to_str())
        for state in ("truncation", "padding"):  # left behind by the last call
            rules.pop(state, None)
        return json.dumps([rules, self.max_length], sort_keys=True)

    def describe(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """What the projection is given: ids and mask, both (B, L) -> (B, features)."""
        output = self.backbone(input_ids=input_ids, attention_mask=attention_mask)
        states = output.last_hidden_state  # (B, L, features)
        if self.pooling == "first":
            return states[:, 0]
        mask = attention_mask.unsqueeze(-1).to(states.dtype)  # (B, L, 1), 0 on padding
        return (states * mask).sum(dim=1) / mask.sum(dim=1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """What `tokenize` gives, both (B, L) -> (B, dim), not normalised."""
        return self.projection(self.describe(input_ids, attention_mask))

    def save_backbone(self, folder: str | os.PathLike[str]) -> None:
        """Write backbone and vocabulary (no projection) as a folder that transformers reads too."""
        with whole_folder(Path(folder)) as out:
            files.write_safetensors(out / "model.safetensors", self.backbone)
            self.backbone.config.save_pretrained(out)
            self.tokenizer.save_pretrained(out)


def train_wordpiece(captions: Iterable[str], size: int = 4000) -> PreTrainedTokenizerFast:
    """A lower-case WordPiece vocabulary of at most `size` entries, learned from `captions`.

    The same captions give the same entries in the same order in every process: an entry's number
    is its row of the embedding table, so a seed would repeat nothing otherwise.
    """
    captions = [_valid_unicode(caption) for caption in captions]
    normalizer = normalizers.BertNormalizer(lowercase=True)
    counts: Counter[str] = Counter()
    for caption in captions:
        counts.update(caption)
    # Scripts with thousands of signs would fill the vocabulary with single signs.
    by_count = sorted(counts, key=lambda sign: (-counts[sign], sign))
    common, rare = by_count[: size // 4], by_count[size // 4 :]
    without_rare = dict.fromkeys(map(ord, rare), " ")
    letters = sorted(set(normalizer.normalize_str("".join(common))) - {" "})
    # The trainer numbers the letters inside words in the order of a hash map, which differs from
    # process to process, and settles ties by those numbers. Naming them beforehand pins both.
    special = list(SPECIAL.values())
    trainer = WordPieceTrainer(
        vocab_size=size,
        special_tokens=special + letters + ["##" + letter for letter in letters],
        show_progress=False,
    )
    learner = Tokenizer(WordPiece(unk_token=SPECIAL["unk_token"]))
    learner.normalizer = normalizer
    learner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    learner.train_from_iterator((text.translate(without_rare) for text in captions), trainer)

    vocabulary = learner.get_vocab()
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token=SPECIAL["unk_token"]))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    names = ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=names, **SPECIAL)


def _valid_unicode(text: str) -> str:
    """JSON can hold half an emoji (a lone surrogate), which no tokeniser takes."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _model_folder(name: str, with_weights: bool) -> Path:
    """The local folder of a BERT-family model given by its folder or its name on the hub."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise MissingFile(f"There is no folder {folder} with a text backbone.")
    if with_weights:
        needed: tuple[str, ...] = ("config.json", "model.safetensors")
        without = "train without: --text-weights none (still takes the other files)"
    else:
        needed = ("config.json",)
        without = "take the built-in backbone: --text-backbone mini"
    also = ("tokenizer.json", "tokenizer_config.json", "vocab.txt")
    return files.hub_files(name, needed, also, without)


def _read_bert(folder: Path, with_weights: bool) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Backbone and vocabulary of a folder as transformers writes it; no network, no foreign code.

    Raises:
        MissingFile: no config.json, no weights or no vocabulary in it.
        DataError: damaged, holding a pickle instead of weights, or no BERT-family encoder.
    """
    if not (folder / "config.json").is_file():
        raise MissingFile(f"{folder} lacks config.json: it is no model as transformers writes it.")
    if with_weights and not any(folder.glob("model*.safetensors")):
        for path in folder.iterdir():
            files.refuse_pickle(path)
        raise MissingFile(f"{folder} lacks model.safetensors, the text backbone's weights.")
    try:
        with _quiet_transformers():
            config = AutoConfig.from_pretrained(folder, **LOCAL)
            # What fills in masked words reads both ways, as a caption's first token must.
            if type(config) not in MODEL_FOR_MASKED_LM_MAPPING or config.is_encoder_decoder:
                raise ValueError(f"{config.model_type!r} is no encoder of the BERT family")
            missing: list[str] = []
            if with_weights:
                for path in folder.glob("model*.safetensors"):
                    files.read_safetensors(path)
                backbone, report = AutoModel.from_pretrained(
                    folder,
                    config=config,
                    dtype=torch.float32,
                    use_safetensors=True,
                    output_loading_info=True,
                    **LOCAL,
                )
                missing = sorted(n for n in report["missing_keys"] if not n.startswith("pooler."))
            else:
                backbone = AutoModel.from_config(config, trust_remote_code=False).float()
            tokenizer = _read_tokenizer(folder, config.pad_token_id)
    except DataError:
        raise
    # Damage surfaces as whatever the first line of transformers to trip over it raises.
    except Exception as error:
        raise DataError(
            f"{folder} cannot be used as a text backbone ({' '.join(str(error).split())[:300]}). "
            "It must be a complete BERT-family model in the layout that transformers writes."
        ) from error
    if missing:
        more = f" and {len(missing) - 3} more" if missing[3:] else ""
        raise DataError(
            f"{folder}: model.safetensors does not hold this backbone's weights (missing: "
            f"{', '.join(missing[:3])}{more}). Fetch or save the model again."
        )
    if len(tokenizer) > config.vocab_size:
        raise DataError(
            f"{folder}: the vocabulary has {len(tokenizer)} entries, the backbone rows for "
            f"{config.vocab_size}. They belong to different models; fetch both again."
        )
    if getattr(backbone, "pooler", None) is not None:
        backbone.pooler = None  # never read here; its weights would be trained without a gradient
    return backbone.train(), tokenizer


def _read_tokenizer(folder: Path, pad_token_id: int | None) -> PreTrainedTokenizerBase:
    if (folder / "tokenizer.json").is_file():
        # Taken as it stands: AutoTokenizer would build BERT's own anew from the vocabulary, and,
        # where tokenizer_config.json is absent, make a cased model lower-case.
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    elif (folder / "vocab.txt").is_file():
        tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
    else:
        raise MissingFile(f"{folder} lacks tokenizer.json (or vocab.txt), the vocabulary.")
    if tokenizer.pad_token is None:
        if pad_token_id is None:
            raise ValueError("it has no padding token")
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad_token_id)
    tokenizer.padding_side = "right"  # the first token must stand first
    return tokenizer


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Hold back its progress bars, and its lists of the weights that a bare encoder leaves out."""
    verbosity, bars = (
        transformers_logging.get_verbosity(),
        transformers_logging.is_progress_bar_enabled(),
    )
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()

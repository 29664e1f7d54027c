"""Learn a WordPiece vocabulary, for a text branch that starts from random weights."""

from collections import Counter
from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from tokenizers.trainers import WordPieceTrainer
from transformers import PreTrainedTokenizerFast

SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}


def train_wordpiece(captions: Iterable[str], size: int = 4000) -> PreTrainedTokenizerFast:
    """Learn a lower-case WordPiece vocabulary of at most `size` entries from captions.

    The same captions give the same entries in the same order in every process. That matters
    because an entry's number is its row of the embedding table: with another order, the same seed
    would start from other vectors.

    Args:
        captions: the texts to learn from.
        size: the most entries the vocabulary may have, special tokens and letters included.

    Returns:
        A tokenizer that wraps each text in [CLS] and [SEP], as BERT's does.
    """
    captions = [valid_unicode(caption) for caption in captions]
    normalizer = normalizers.BertNormalizer(lowercase=True)
    counts: Counter[str] = Counter()
    for caption in captions:
        counts.update(caption)
    # Scripts with thousands of signs would fill the vocabulary with single signs.
    by_count = sorted(counts, key=lambda sign: (-counts[sign], sign))
    common, rare = by_count[: size // 4], by_count[size // 4 :]
    rare_to_space = dict.fromkeys(map(ord, rare), " ")
    letters = sorted(set(normalizer.normalize_str("".join(common))) - {" "})
    # The trainer numbers the letters inside words in the order of a hash map, which differs from
    # process to process, and breaks ties by those numbers. Listing them beforehand fixes both.
    trainer = WordPieceTrainer(
        vocab_size=size,
        special_tokens=[*SPECIAL.values(), *letters, *(f"##{letter}" for letter in letters)],
        show_progress=False,
    )
    learner = _bert_tokenizer({}, normalizer)
    learner.train_from_iterator((text.translate(rare_to_space) for text in captions), trainer)

    # Built anew, because the learner would split every word into the listed letters.
    vocabulary = learner.get_vocab()
    tokenizer = _bert_tokenizer(vocabulary, normalizer)
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    names = ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=names, **SPECIAL)


def _bert_tokenizer(
    vocabulary: dict[str, int], normalizer: normalizers.BertNormalizer
) -> Tokenizer:
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token=SPECIAL["unk_token"]))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def valid_unicode(text: str) -> str:
    """Replace half an emoji (a lone surrogate), which JSON can hold and no tokenizer takes."""
    return text.encode("utf-8", "replace").decode("utf-8")

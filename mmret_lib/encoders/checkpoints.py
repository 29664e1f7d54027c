"""Open models in the folders that the transformers library writes: a BERT or a CLIP.

Code that comes with a model is never run, and only safetensors weights are read. Only `hub_files`
uses the network, for a model given by its name.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    CLIPModel,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from mmret_lib.encoders.weights import hub_files, read_safetensors, refuse_pickle
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.places import user_path

_LOCAL = {"local_files_only": True, "trust_remote_code": False}


def model_folder(name: str, with_weights: bool = True, optional: tuple[str, ...] = ()) -> Path:
    """Find the folder of a model given by its folder or its name on the hub.

    Args:
        name: a folder, or a name such as "distilbert-base-uncased".
        with_weights: whether the weights are needed, or only vocabulary and sizes.
        optional: further files to fetch where the model has them.

    Raises:
        MissingFile: not on this computer and not to be downloaded; the message says where to put
            the files.
    """
    folder = user_path(name)
    if folder.is_dir():
        return folder
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise MissingFile(f"There is no folder {folder} with a model.")
    optional = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", *optional)
    if not with_weights:
        remedy = "take the built-in backbone: --text-backbone mini"
        return hub_files(name, ("config.json",), optional, remedy)
    remedy = "train without: --text-weights none (still takes the other files)"
    return hub_files(name, ("config.json", "model.safetensors"), optional, remedy)


def read_bert(folder: Path, with_weights: bool) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Read a BERT-family encoder and its tokenizer.

    Args:
        folder: as transformers writes it.
        with_weights: read the folder's weights; otherwise they are random.

    Raises:
        MissingFile: no config.json, no weights or no vocabulary in the folder.
        DataError: damaged files, a pickle instead of weights, or another kind of model.
    """
    with _reading(folder, "text backbone"):
        config = _read_config(folder, with_weights)
        # Models of masked words attend in both directions; in others the first token sees no text.
        if type(config) not in MODEL_FOR_MASKED_LM_MAPPING or config.is_encoder_decoder:
            raise ValueError(f"{config.model_type!r} is no encoder of the BERT family")
        if with_weights:
            backbone = _read_model(AutoModel, folder, config)
        else:
            backbone = AutoModel.from_config(config, trust_remote_code=False).float()
        tokenizer = read_tokenizer(folder, config.pad_token_id)
    if len(tokenizer) > config.vocab_size:
        raise DataError(
            f"{folder}: the vocabulary has {len(tokenizer)} entries, but the backbone has vectors "
            f"for {config.vocab_size}. They belong to different models; fetch both again."
        )
    if getattr(backbone, "pooler", None) is not None:
        # Its output is not used, so its weights would get no gradient. None would stop some models.
        backbone.pooler = torch.nn.Identity()
    return backbone.train(), tokenizer


def read_clip(folder: Path) -> tuple[CLIPModel, PreTrainedTokenizerBase]:
    """Read a CLIP and its tokenizer; raises as `read_bert` does."""
    with _reading(folder, "CLIP"):
        config = _read_config(folder, with_weights=True)
        if config.model_type != "clip":
            raise ValueError(f"it is of type {config.model_type!r}")
        clip = _read_model(CLIPModel, folder, config)
        return clip, read_tokenizer(folder, config.text_config.pad_token_id)


def read_tokenizer(folder: Path, pad_token_id: int | None) -> PreTrainedTokenizerBase:
    """Read a tokenizer that pads on the right, so that the first token stands first."""
    if (folder / "tokenizer.json").is_file():
        # AutoTokenizer would build BERT's own anew from the vocabulary and, where
        # tokenizer_config.json is absent, turn a cased model into a lower-case one.
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    elif (folder / "vocab.txt").is_file():
        tokenizer = AutoTokenizer.from_pretrained(folder, **_LOCAL)
    else:
        raise MissingFile(f"{folder} lacks tokenizer.json (or vocab.txt), the vocabulary.")
    if tokenizer.pad_token is None:
        if pad_token_id is None:
            raise ValueError("it has no padding token")
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad_token_id)
    tokenizer.padding_side = "right"
    return tokenizer


def _read_config(folder: Path, with_weights: bool) -> PreTrainedConfig:
    if not (folder / "config.json").is_file():
        raise MissingFile(f"{folder} lacks config.json: it is no model as transformers writes it.")
    if with_weights and not any(folder.glob("model*.safetensors")):
        for path in folder.iterdir():
            refuse_pickle(path)
        raise MissingFile(f"{folder} lacks model.safetensors, the weights.")
    return AutoConfig.from_pretrained(folder, **_LOCAL)


def _read_model(
    kind: type[PreTrainedModel], folder: Path, config: PreTrainedConfig
) -> PreTrainedModel:
    for path in folder.glob("model*.safetensors"):
        read_safetensors(path)  # names the file where one is damaged
    model, report = kind.from_pretrained(
        folder,
        config=config,
        dtype=torch.float32,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # reported below, where the message can name them
        **_LOCAL,
    )
    if wrong := sorted(m for m in report["mismatched_keys"] if not m[0].startswith("pooler.")):
        name, found, wanted = wrong[0]
        raise DataError(
            f"{folder}: model.safetensors holds the weights of another model than config.json "
            f"describes ({name} is {tuple(found)}, should be {tuple(wanted)}). Fetch both again "
            "from one place."
        )
    if missing := sorted(n for n in report["missing_keys"] if not n.startswith("pooler.")):
        more = f" and {len(missing) - 3} more" if missing[3:] else ""
        raise DataError(
            f"{folder}: model.safetensors does not hold this model's weights (missing: "
            f"{', '.join(missing[:3])}{more}). Fetch or save the model again."
        )
    return model


@contextmanager
def _reading(folder: Path, kind: str) -> Iterator[None]:
    """Silence transformers, and turn its errors into a DataError that names the folder."""
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # on damaged files transformers raises nearly anything
        raise DataError(
            f"{folder} cannot be used as a {kind} ({' '.join(str(error).split())[:300]}). It must "
            "be a complete model in the layout that transformers writes."
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()

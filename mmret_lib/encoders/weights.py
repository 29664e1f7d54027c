"""Where pretrained weights come from, and how weights are read and written.

Only safetensors files are ever opened. A PyTorch checkpoint (.pt, .pth, .bin) is a pickle: opening
one runs whatever code its author put inside, so such files are refused, never tried.
"""

import os
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import RemoteEntryNotFoundError, RepositoryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.places import cache_folder

PICKLE_SUFFIXES = {".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt"}


def weights_folder() -> Path:
    """Where pretrained weights placed by hand are looked for, before any download."""
    return cache_folder() / "weights"


def hub_files(repo: str, needed: tuple[str, ...], also: tuple[str, ...], without: str) -> Path:
    """A folder that holds the files of the model `repo`.

    Looked for in this order: the folder for files placed by hand (`weights_folder() / repo`), the
    hub's own cache on this machine, the hub itself.

    Args:
        repo: name on the model hub, such as "timm/resnet34.tv_in1k".
        needed: names of the files without which the model cannot be used.
        also: names of files to take along where the model has them.
        without: how to train without these weights; ends the error message.

    Raises:
        MissingFile: a needed file is in none of the three places. Says what was wanted, from
            where, where to put it by hand, and `without`.
    """
    by_hand = weights_folder() / repo
    names = ", ".join((*needed, *also))
    remedy = f"Put the model's files in {by_hand} by hand ({names}), or {without}."
    if by_hand.is_dir():
        for name in needed:
            if not (by_hand / name).is_file():
                raise MissingFile(
                    f"{by_hand} lacks {name} of the pretrained model {repo}. {remedy}"
                )
        return by_hand
    folder = by_hand
    for name in (*needed, *also):
        try:
            # What an earlier call fetched needs no network, and never changes under a course.
            cached = huggingface_hub.try_to_load_from_cache(repo, name)
            if isinstance(cached, str):
                folder = Path(cached).parent
                continue
            if cached is not None and name in also:
                continue  # an earlier call learned that the model has no such file
            if name == needed[0]:
                # Asked beforehand because it fails at once: the download itself would retry a
                # refused connection for half a minute before it said so.
                url = huggingface_hub.hf_hub_url(repo, name)
                huggingface_hub.get_hf_file_metadata(url)
            folder = Path(huggingface_hub.hf_hub_download(repo, name)).parent
        except RemoteEntryNotFoundError:
            if name in also:
                continue
            raise MissingFile(f"The model hub's {repo} has no file {name}. {remedy}") from None
        # The hub's client raises a dozen kinds: its own, its HTTP library's, the system's.
        except Exception as error:
            where = huggingface_hub.constants.ENDPOINT
            raise MissingFile(
                f"The pretrained weights {repo} ({name}) could not be fetched from {where}: "
                f"{_reason(error)}. {remedy}"
            ) from error
    return folder


def _reason(error: Exception) -> str:
    if isinstance(error, RepositoryNotFoundError):
        return "the hub knows no model of that name that is open to all"
    cause: BaseException = error
    while cause.__cause__ is not None:  # the client wraps "connection refused" in general advice
        cause = cause.__cause__
    return (str(cause).strip() or type(cause).__name__).splitlines()[0].rstrip(".")


def refuse_pickle(path: Path) -> None:
    """Raise DataError where `path` is a pickle, judged by its name or its first bytes."""
    first = b""
    if path.is_file():
        with path.open("rb") as file:
            first = file.read(4)
    zipped = first == b"PK\x03\x04"
    bare = first[:1] == b"\x80" and first[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    # A safetensors file opens with the length of its header, which may by chance begin like a
    # pickle's first two bytes; the "{" at byte 8 tells them apart.
    if path.suffix == ".safetensors" and bare:
        with path.open("rb") as file:
            bare = file.read(9)[8:] != b"{"
    if path.suffix.lower() in PICKLE_SUFFIXES or zipped or bare:
        raise DataError(
            f"{path} is a pickle (a PyTorch checkpoint). Opening one can run any code its author "
            "put inside, so mmret never does. Give the same weights as a .safetensors file."
        )


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """All tensors of a safetensors file, by name.

    Raises:
        MissingFile: there is no such file.
        DataError: it is a pickle, cut short, or no safetensors file at all.
    """
    path = Path(path)
    refuse_pickle(path)
    if not path.is_file():
        raise MissingFile(f"There is no weights file {path}.")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as safetensors ({error}): it was cut short on its way or is "
            "another kind of file. Delete it and fetch or write it again."
        ) from error


def load_state(module: nn.Module, state: dict[str, Tensor], source: Path) -> None:
    """Copy `state` into `module`; every name and shape must agree.

    Raises:
        DataError: names missing, left over or of another shape; names `source` and the first few.
    """
    wanted = module.state_dict()
    # BatchNorm's batch counter is younger than many checkpoints, and nothing here reads it.
    missing = [n for n in wanted if n not in state and not n.endswith("num_batches_tracked")]
    unknown = [n for n in state if n not in wanted]
    shapes = [
        f"{n} {tuple(state[n].shape)} where {tuple(wanted[n].shape)} is needed"
        for n in wanted
        if n in state and state[n].shape != wanted[n].shape
    ]
    complaints = [
        f"{what}: {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if names[3:] else "")
        for what, names in (("missing", missing), ("unknown", unknown), ("wrong shape", shapes))
        if names
    ]
    if complaints:
        raise DataError(
            f"{source} does not hold the weights of this model ({'; '.join(complaints)}). "
            "Check that the file belongs to the backbone and sizes you asked for."
        )
    module.load_state_dict(state, strict=False)


def write_safetensors(path: Path, module: nn.Module) -> None:
    """All of a module's weights and statistics into one file."""
    # safetensors stores rows as they lie, so a channels-last tensor is laid out plainly first
    state = {name: t.detach().cpu().contiguous() for name, t in module.state_dict().items()}
    save_file(state, path, metadata={"format": "pt"})  # transformers refuses a file without it

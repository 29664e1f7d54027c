"""Find pretrained weights, here or on the model hub, and read and write weight files.

Only safetensors files are ever opened. A PyTorch checkpoint (.pt, .pth, .bin) is a pickle: opening
one runs whatever code its author put inside, so such files are refused, never tried.
"""

import hashlib
import os
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import huggingface_hub
import torch
from huggingface_hub.errors import RemoteEntryNotFoundError, RepositoryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mmret_lib.files.disk import disk_errors
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.places import cache_folder, user_path

PICKLE_SUFFIXES = {".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt"}


def hub_files(repo: str, needed: tuple[str, ...], optional: tuple[str, ...], remedy: str) -> Path:
    """Find a folder with the files of a model, or fetch them from the model hub.

    Looked for in this order: the folder for files placed by hand (weights/REPO in the cache
    folder), the hub's own cache on this machine, the hub itself.

    Args:
        repo: name on the model hub, such as "timm/resnet34.tv_in1k".
        needed: names of the files without which the model cannot be used.
        optional: names of files to take along where the model has them.
        remedy: how to train without these weights; ends the error message.

    Raises:
        MissingFile: a needed file is in none of the three places. The message names the file, the
            place to put it by hand, and `remedy`.
    """
    by_hand = cache_folder() / "weights" / repo
    names = ", ".join((*needed, *optional))
    remedy = f"Put the model's files in {by_hand} by hand ({names}), or {remedy}."
    if by_hand.is_dir():
        for name in needed:
            if not (by_hand / name).is_file():
                raise MissingFile(
                    f"{by_hand} lacks {name} of the pretrained model {repo}. {remedy}"
                )
        return by_hand
    folder = by_hand
    for name in (*needed, *optional):
        try:
            if path := _fetch(repo, name, check_first=name == needed[0]):
                folder = path.parents[name.count("/")]
            elif name in needed:
                raise MissingFile(f"The model hub's {repo} has no file {name}. {remedy}")
        except MissingFile:
            raise
        # The hub's client raises a dozen kinds: its own, its HTTP library's, the system's.
        except Exception as error:
            where = huggingface_hub.constants.ENDPOINT
            raise MissingFile(
                f"The pretrained weights {repo} ({name}) could not be fetched from {where}: "
                f"{_reason(error)}. {remedy}"
            ) from error
    return folder


def _fetch(repo: str, name: str, check_first: bool) -> Path | None:
    """A file of a model on the hub, fetched unless it is cached; None if the model has none."""
    cached = huggingface_hub.try_to_load_from_cache(repo, name)
    if isinstance(cached, str):
        return Path(cached)
    if cached is not None:  # an earlier call learned that the model has no such file
        return None
    try:
        if check_first:
            # This fails at once, the download would retry a refused connection for half a minute.
            huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(repo, name))
        return Path(huggingface_hub.hf_hub_download(repo, name))
    except RemoteEntryNotFoundError:
        return None


def _reason(error: Exception) -> str:
    if isinstance(error, RepositoryNotFoundError):
        return "the hub knows no model of that name that is open to all"
    cause: BaseException = error
    while cause.__cause__ is not None:  # the client wraps "connection refused" in general advice
        cause = cause.__cause__
    return (str(cause).strip() or type(cause).__name__).splitlines()[0].rstrip(".")


def refuse_pickle(path: Path) -> None:
    """Raise DataError where `path` is a pickle, judged by its name or its first bytes."""
    start = b""
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(9)
    zipped = start.startswith(b"PK\x03\x04")
    bare = start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    # A safetensors file begins with the length of its header, eight bytes that can look like a
    # pickle's first ones; only safetensors has a "{" after them.
    if path.suffix == ".safetensors" and start[8:] == b"{":
        bare = False
    if path.suffix.lower() in PICKLE_SUFFIXES or zipped or bare:
        raise DataError(
            f"{path} is a pickle (a PyTorch checkpoint). Opening one can run any code its author "
            "put inside, so mmret never does. Give the same weights as a .safetensors file; these "
            "lines of Python make one, and torch stops there at anything but weights:\n"
            + how_to_convert(path)
        )


def how_to_convert(path: Path) -> str:
    """Lines of Python that make a safetensors file of a pickled checkpoint, to be pasted."""
    # "state_dict" and "model" are where training scripts put the weights beside other things. Each
    # is cloned, because safetensors refuses two names of one tensor, such as tied weights.
    return f"""\
import torch; from safetensors.torch import save_file
state = torch.load({str(path)!r}, map_location="cpu", weights_only=True)
state = state.get("state_dict", state.get("model", state))
tensors = {{n: t.clone().contiguous() for n, t in state.items() if torch.is_tensor(t)}}
save_file(tensors, {str(path.with_suffix(".safetensors"))!r}, metadata={{"format": "pt"}})"""


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file, by name.

    Raises:
        MissingFile: there is no such file.
        DataError: it is a pickle, cut short, or no safetensors file at all.
    """
    path = user_path(path)
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
    """Copy the weights `state`, read from the file `source`, into a module.

    Raises:
        DataError: names missing, left over or of another shape; names the file and the first few.
    """
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        problems = " ".join(str(error).split())
        raise DataError(
            f"{source} does not hold the weights of this model ({problems:.300} …). "
            "Check that the file belongs to the backbone and sizes you asked for."
        ) from None


def write_safetensors(path: Path, module: nn.Module) -> None:
    """Write all of a module's weights and statistics into one file."""
    with disk_errors(path, "writing weights"):
        write_tensors(path, module.state_dict())


def write_tensors(path: Path, state: dict[str, Tensor], **metadata: str) -> None:
    """Write tensors by name into one safetensors file, with texts of one's own in its header."""
    # safetensors takes contiguous tensors only, which channels-last ones are not
    plain = {name: t.detach().cpu().contiguous() for name, t in state.items()}
    path.touch()
    mode = path.stat().st_mode
    save_file(plain, path, metadata={"format": "pt", **metadata})  # transformers asks for "format"
    path.chmod(mode)  # safetensors' own is 0600, which other users cannot read


def digest_of(state: dict[str, Tensor], start: bytes = b"") -> str:
    """Return 64 hexadecimal digits that depend on every bit of some tensors and on their names.

    Args:
        state: the tensors, in any order and on any device.
        start: bytes that the digits depend on as well.
    """
    digest = hashlib.sha256(start)
    for name, value in sorted(state.items()):
        plain = value.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


# The last digest of each module, and which state it is of.
_digests: WeakKeyDictionary[nn.Module, tuple[list[Any], str]] = WeakKeyDictionary()


def module_digest(module: nn.Module, state: dict[str, Tensor], start: bytes = b"") -> str:
    """Return `digest_of` tensors of a module, computed anew only if one was written to since.

    torch counts the writes to each tensor, except those to its `.data`. Frozen weights of 350 MB
    would take a second in each epoch that saves them.

    Args:
        module: whose weights they are.
        state: as its `state_dict` gives them.
        start: bytes that the digits depend on as well.
    """
    if any(value.is_inference() for value in state.values()):  # writes to these are not counted
        return digest_of(state, start)
    marks: list[Any] = [start]
    marks += [(name, t.device, t.data_ptr(), t._version) for name, t in state.items()]
    known, digest = _digests.get(module, ([], ""))
    if known != marks:
        digest = digest_of(state, start)
        _digests[module] = marks, digest
    return digest

"""What this machine can compute on, and in which precision."""

import torch

from mmret_lib.files.errors import DataError


def pick_device(name: str = "auto") -> torch.device:
    """ "auto" takes the GPU if there is one.

    Raises:
        DataError: a device that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DataError(f"device {name!r} is not to be had here ({error}); try auto") from None
    return device


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """ "auto" by what the hardware does itself: a Tesla T4 says it has bfloat16 but emulates it."""
    if name != "auto":
        return getattr(torch, name)
    if device.type != "cuda":
        return torch.float32
    recent = torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.bfloat16 if recent else torch.float16

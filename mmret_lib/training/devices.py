"""What this machine can compute on, and in which precision."""

import torch

from mmret_lib.files.errors import DataError


def pick_device(name: str = "auto") -> torch.device:
    """Choose the device to compute on; "auto" takes the GPU if there is one.

    Raises:
        DataError: a device that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DataError(f"this machine has no device {name!r} ({error}); try auto") from None
    return device


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """Choose the type to compute in: the one named, or with "auto" the fastest on this device.

    bfloat16 needs a GPU of compute capability 8.0: a Tesla T4 says that it has it, but emulates it.
    """
    if name != "auto":
        dtype = getattr(torch, name)
        assert isinstance(dtype, torch.dtype)
        return dtype
    if device.type != "cuda":
        return torch.float32
    recent = torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.bfloat16 if recent else torch.float16

"""Where things lie on this computer: what may be made again goes into one cache folder."""

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """``$MMRET_CACHE`` if set, else the platform's usual cache folder for "mmret"."""
    return Path(os.environ.get("MMRET_CACHE") or platformdirs.user_cache_dir("mmret"))

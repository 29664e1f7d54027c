"""Files and folders: errors, places on disk, complete writes, downloads, archives, the cache.

    errors      the two errors that a user reads
    places      the cache folder, the files that the course ships, `~` in paths
    whole       files and folders that are complete or as they were before
    records     JSON files: settings, notes, manifests with checksums
    disk        locks, free space, checksums of files
    download    fetches files (`remote`: what a file must be; `web`: the requests)
    unpack      unpacks archives (`archive`: reads and checks them)
    cache       lists and clears the cache folder

This room imports no other.
"""

from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.places import cache_folder, shipped, user_path
from mmret_lib.files.whole import put_back, whole_file, whole_folder, write_text

__all__ = [
    "DataError",
    "MissingFile",
    "cache_folder",
    "put_back",
    "shipped",
    "user_path",
    "whole_file",
    "whole_folder",
    "write_text",
]

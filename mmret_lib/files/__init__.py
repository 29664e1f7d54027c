"""Files and folders: errors, places on disk, complete writes, downloads, archives, the cache.

    errors      the errors that a user sees
    places      the cache folder, the files that the course ships, `~` in paths
    whole       write a file or a folder completely or not at all
    records     JSON files: settings, notes, manifests with checksums
    output      print to terminals and files of any encoding
    disk        locks, free space, checksums of files
    download    fetch files (`remote`: their address, size and checksum; `web`: HTTP requests)
    unpack      unpack archives (`archive`: open and check them)
    cache       list and clear the cache folder
    keep        copies in a second place that outlives a session, such as a mounted Drive

This package imports no other package of mmret_lib.
"""

from mmret_lib.files.errors import DataError, DiskError, MissingFile
from mmret_lib.files.places import cache_folder, shipped, user_path
from mmret_lib.files.whole import put_back, whole_file, whole_folder, write_text

__all__ = [
    "DataError",
    "DiskError",
    "MissingFile",
    "cache_folder",
    "put_back",
    "shipped",
    "user_path",
    "whole_file",
    "whole_folder",
    "write_text",
]

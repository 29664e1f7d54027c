"""Files and folders: errors, places on disk, whole writes, fetching, unpacking.

`errors` are the two a user reads, `places` says where things lie, `whole` writes files and folders
that are complete or absent, `download` fetches, `unpack` opens archives. Imports nothing above it.
"""

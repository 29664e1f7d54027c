"""The two errors a user of the library is meant to read.

Each message names the file, the record and the remedy. The command line prints it as it stands;
anything else that escapes is a bug and keeps its traceback.
"""


class DataError(ValueError):
    """Something the user gave (a file, a folder, a record, a setting) cannot be used as it is."""


class MissingFile(DataError, FileNotFoundError):
    """A file or folder the user named, or one that should have been fetched, is not there."""

    def __str__(self) -> str:  # OSError would print a tuple of errno fields
        return " ".join(str(part) for part in self.args)

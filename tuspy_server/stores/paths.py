"""Where the files of an upload lie, and the proof that it is inside the store's directory."""

from __future__ import annotations

import os
import re
from functools import lru_cache

from tuspy_server.errors import StoreFailed, UploadNotFound
from tuspy_server.models import UploadInfo

RECORD_SUFFIX = ".info"
SPACE = ".space"
"""A directory for who uses how much of the space. No upload can be placed there: its name starts with a dot."""

_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._~-]{0,127}")
SIDE_FILES = (RECORD_SUFFIX, ".lock", ".stage", ".tmp")
_FORBIDDEN = re.compile(
    r'[\x00-\x1f\x7f\\\ud800-\udfff<>:"|?*]' if os.name == "nt" else r"[\x00-\x1f\x7f\\\ud800-\udfff]"
)


@lru_cache(maxsize=1024)  # asked several times by each request
def is_id(upload_id: str) -> bool:
    """Whether this can be an upload's id: one path segment that no side file is named like."""
    return _ID.fullmatch(upload_id) is not None and not upload_id.lower().endswith(SIDE_FILES)


class Paths:
    """File names below `directory`; the attribute is its absolute path without symbolic links.

    `template` places data files, as in "{created:%Y/%m/%d}/{id}"; it is formatted with `id`, `created`,
    `principal` and `metadata`. None places them beside the records.
    """

    def __init__(self, directory: str, template: str | None) -> None:
        self.directory = os.path.realpath(directory)
        self._prefix = os.path.join(self.directory, "")
        self._given_prefix = os.path.join(os.path.abspath(directory), "")
        self._template = template

    def record(self, upload_id: str) -> str:
        """Where the record lies. Raises UploadNotFound for what can be no upload's id."""
        if not is_id(upload_id):
            raise UploadNotFound
        return f"{self._prefix}{upload_id}{RECORD_SUFFIX}"

    def choose(self, info: UploadInfo) -> str:
        """Where the data of a new upload shall lie, relative to the directory with forward slashes.

        What a hook preset in `storage["path"]` comes first, absolute or relative. Raises StoreFailed if the
        place is outside the directory or could be mistaken for a file of the store itself.
        """
        preset = info.storage.get("path")
        if preset is not None:
            return self._relative(preset)
        if self._template is None:
            return info.id
        place = self._template.format(
            id=info.id, created=info.created, principal=info.principal, metadata=info.metadata
        )
        return self._relative(place)

    def data(self, place: str) -> str:
        """The absolute path of a data file that `choose` placed. Raises StoreFailed as it does."""
        if "/" not in place and is_id(place):
            return self._prefix + place
        place = self._relative(place)
        full = os.path.join(self.directory, *place.split("/"))
        parent = os.path.dirname(full)
        if os.path.realpath(parent) != parent:
            raise StoreFailed("a path below the upload directory leads through a symbolic link")
        return full

    def parents(self, data_path: str) -> list[str]:
        """The directories from the store's own down to the one that holds the file."""
        found = []
        parent = os.path.dirname(data_path)
        while len(parent) > len(self.directory):
            found.append(parent)
            parent = os.path.dirname(parent)
        return [self.directory, *reversed(found)]

    def place(self, info: UploadInfo) -> str:
        """Where `choose` once placed the data of this upload."""
        return info.storage.get("path", info.id)

    def _relative(self, place: str) -> str:
        if os.path.isabs(place):
            if not place.startswith((self._prefix, self._given_prefix)):
                raise StoreFailed("the path chosen for an upload is outside the upload directory")
            place = place.removeprefix(self._prefix).removeprefix(self._given_prefix).replace(os.sep, "/")
        parts = place.split("/")
        if _FORBIDDEN.search(place) or not all(map(_is_name, parts)):
            raise StoreFailed("the path chosen for an upload is not a plain path inside the upload directory")
        return place


def _is_name(part: str) -> bool:
    return part != "" and not part.startswith(".") and not part.lower().endswith(RECORD_SUFFIX)

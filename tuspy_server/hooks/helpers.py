"""Ready hooks for what most apps write: refuse by type, keep finished uploads, move them to where they belong.

What a client says about its file (name, type) is a claim. Look into the bytes in `pre_finish` where it matters.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from tuspy_server.errors import RejectUpload
from tuspy_server.hooks.payload import RejectTermination
from tuspy_server.models import HookEvent, Kind, State, UploadInfo

FILE_NAME_KEYS = ("filename", "name")
MIME_TYPE_KEYS = ("filetype", "type", "mime", "contentType")

_LONGEST_NAME = 180
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\ud800-\udfff]')
_EXTENSION = re.compile(r"\.\s*([^\W_]+)")
_DEVICE = re.compile(r"(?i:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|\Z)")


def file_name(info: UploadInfo) -> str:
    """The file name the client gave, safe as one path segment on every system; empty if it gave none.

    Directories, control and reserved characters, leading dots and trailing dots and blanks are gone, device
    names are prefixed, and it is at most 180 bytes of UTF-8 with its extension kept.
    """
    given = unicodedata.normalize("NFC", _claimed(info, FILE_NAME_KEYS))
    last = re.split(r"[/\\]", given)[-1]
    # a bidirectional override makes "exe.jpg" out of "gpj.exe" on screen
    shown = "".join(c for c in last if unicodedata.category(c) != "Cf")
    name = _UNSAFE.sub("_", shown).strip().lstrip(".").rstrip(". ")
    if _DEVICE.match(name):
        name = f"_{name}"
    stem, extension = os.path.splitext(name)
    room = _LONGEST_NAME - len(extension.encode())
    if room <= 0:
        stem, extension, room = name, "", _LONGEST_NAME
    return stem.encode()[:room].decode(errors="ignore") + extension


def mime_type(info: UploadInfo) -> str:
    """The media type the client gave, without parameters and in lower case; empty if it gave none."""
    return _claimed(info, MIME_TYPE_KEYS).partition(";")[0].strip().lower()


def refuse_types(
    *,
    allow_types: Collection[str] = (),
    deny_types: Collection[str] = (),
    allow_extensions: Collection[str] = (),
    deny_extensions: Collection[str] = (),
    status: int = 415,
) -> Callable[[HookEvent], None]:
    """A `pre_create` hook that refuses by the MIME type and file name in the metadata.

    Types may be patterns as "image/*". An allow list refuses what is not on it, a missing type or name
    included; a deny list refuses what is on it. Extensions are compared without case; every one of a name
    counts for the deny list ("a.php.jpg" is denied by "php"), the last for the allow list. Parts of a
    concatenation pass, their final upload is looked at.
    """
    allowed, denied = _lowered(allow_types), _lowered(deny_types)
    allowed_extensions, denied_extensions = _extensions(allow_extensions), _extensions(deny_extensions)

    def refuse(event: HookEvent) -> None:
        info = event.upload
        if info.kind is Kind.PARTIAL:
            return
        kind = mime_type(info)
        if (allowed and not _matches(kind, allowed)) or _matches(kind, denied):
            raise RejectUpload("files of this type are not accepted", status=status)
        last = os.path.splitext(file_name(info))[1].removeprefix(".").lower()
        # of the name as given, where "a.php::$DATA" still has its "php"
        every = _EXTENSION.findall(_claimed(info, FILE_NAME_KEYS).lower())
        if (allowed_extensions and last not in allowed_extensions) or denied_extensions.intersection([*every, last]):
            raise RejectUpload("files with this extension are not accepted", status=status)

    return refuse


def keep_finished(event: HookEvent) -> None:
    """A `pre_terminate` hook that lets clients remove unfinished uploads only."""
    if event.upload.is_full or event.upload.state not in (State.OPEN, State.FAILED):
        raise RejectTermination("a finished upload cannot be terminated", status=403)


def move_finished(
    path_of: Callable[[UploadInfo], Path],
    directory: str | os.PathLike[str],
    *,
    name: Callable[[UploadInfo], str] = file_name,
) -> Callable[[HookEvent], None]:
    """A `post_finish` hook that moves the bytes to `directory` under a name of their own.

    `path_of` is where they lie (`FileStore.path`), `name` the wished path below `directory`, by default the
    client's file name. An existing file is never overwritten: the id is put before a name that is taken, or
    stands for one that is empty. Repeatable after a crash at any point; parts of a concatenation stay. The
    upload's record stays, so HEAD still says it is complete, and GET says 410. Raises ValueError for a wish that
    leads out of `directory`, OSError where the file system refuses; then the bytes are where they were.
    """
    root = Path(directory).resolve()

    def move(event: HookEvent) -> None:
        info = event.upload
        if info.kind is Kind.PARTIAL:
            return
        root.mkdir(parents=True, exist_ok=True)
        source, copy = path_of(info), root / f".{info.id}.moving"
        if source.exists():
            _publish(source, copy, [*_candidates(root, name(info), info.id)])
            source.unlink()
        copy.unlink(missing_ok=True)

    return move


def _candidates(root: Path, wish: str, upload_id: str) -> Iterator[Path]:
    wished = root / wish if wish else root / upload_id
    if not wished.resolve().is_relative_to(root) or wished.resolve() == root:
        raise ValueError(f"the name wished for an upload leads out of {root}")
    wished.parent.mkdir(parents=True, exist_ok=True)
    yield wished
    yield wished.with_name(f"{upload_id}-{wished.name}")


def _publish(source: Path, copy: Path, names: Sequence[Path]) -> None:
    """Give the bytes one of the names: the file itself, or a copy where a name is on another file system."""
    try:
        # a copy with a second name is whole, and was published before a crash
        is_published = copy.exists() and copy.stat().st_nlink > 1
        published = _link(copy if is_published else source, names)
    except OSError as exc:
        if exc.errno != errno.EXDEV:
            raise
        _copy(source, copy)
        published = _link(copy, names)
    _sync_directory(published.parent)


def _link(file: Path, names: Sequence[Path]) -> Path:
    """The first name that is free, or was given to this file before. Raises FileExistsError if there is none."""
    for each in names:
        try:
            os.link(file, each)  # unlike rename, never overwrites
        except FileExistsError:
            if not each.samefile(file):
                continue
        return each
    raise FileExistsError(errno.EEXIST, "every name for the finished upload is taken", str(names[-1]))


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("wb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
        writer.flush()
        os.fsync(writer.fileno())
    shutil.copystat(source, target)


def _sync_directory(directory: Path) -> None:
    """Make a new name survive a power loss, before the old one goes."""
    if os.name == "nt":
        return
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _claimed(info: UploadInfo, keys: tuple[str, ...]) -> str:
    return next((info.metadata[key] for key in keys if info.metadata.get(key)), "")


def _lowered(names: Collection[str]) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in names)


def _extensions(names: Collection[str]) -> frozenset[str]:
    return frozenset(name.removeprefix(".") for name in _lowered(names))


def _matches(kind: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(kind, pattern) for pattern in patterns)

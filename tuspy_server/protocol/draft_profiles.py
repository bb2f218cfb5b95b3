"""How the interop versions of the resumable-uploads draft differ, in one table.

draft-ietf-httpbis-resumable-upload: 3 is -01, 4 -02, 5 -03, 6 -04 and -05, 7 -06 to -08, 8 -09 to -11, 9 -12.
A version belongs to a request, never to an upload.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from tuspy_server.models import Request
from tuspy_server.protocol import structured
from tuspy_server.protocol.problems import COMPLETED_UPLOAD, INCONSISTENT_LENGTH, MISMATCHING_OFFSET

VERSION_FIELD = "Upload-Draft-Interop-Version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What one interop version asks for.

    - `is_inverted`: Upload-Incomplete, whose true means that more is to come, stands for Upload-Complete.
    - `infers_length`: the last content's Content-Length tells the whole length.
    - `missing_completes`: an append that does not say whether it is the last is the last.
    - `needs_media_type`: appends are of type application/partial-upload.
    - `lifetime_member`: what Upload-Limit calls the seconds left; None where there is no Upload-Limit.
    - `more_status`: the answer to an append that is not the last.
    - `refuses_state_fields`: HEAD and DELETE that carry the fields of an append are 400.
    - `gone_is_404`: an upload that is no more is not found.
    - `names_upload`: the final answer to a creation has the upload as its Location.
    - `invalidates`: content beyond the length ends the upload.
    - `limits_creation`: the limits of appends bind the content of a creation too.
    """

    version: int
    is_inverted: bool = False
    infers_length: bool = True
    missing_completes: bool = True
    needs_media_type: bool = False
    lifetime_member: str | None = None
    more_status: int = 201
    refuses_state_fields: bool = True
    gone_is_404: bool = True
    names_upload: bool = True
    invalidates: bool = False
    limits_creation: bool = False
    has_progress: bool = True
    has_digests: bool = False
    problem_types: frozenset[str] = frozenset()

    @property
    def completeness_field(self) -> str:
        return "Upload-Incomplete" if self.is_inverted else "Upload-Complete"

    def read_complete(self, request: Request) -> bool | None:
        """Whether the request says that nothing follows its content; None if it does not tell."""
        said = structured.boolean(request.header(self.completeness_field.lower()))
        return None if said is None else said is not self.is_inverted

    def write_complete(self, complete: bool) -> tuple[str, str]:
        return self.completeness_field, structured.write(complete is not self.is_inverted)


_V5 = Profile(version=5)
_V4 = replace(_V5, version=4, has_progress=False)
_V3 = replace(_V4, version=3, is_inverted=True, infers_length=False)
_V6 = replace(
    _V5,
    version=6,
    needs_media_type=True,
    lifetime_member="expires",
    has_digests=True,
    problem_types=frozenset([MISMATCHING_OFFSET, COMPLETED_UPLOAD]),
)
_V7 = replace(
    _V6,
    version=7,
    missing_completes=False,
    lifetime_member="max-age",
    more_status=204,
    refuses_state_fields=False,
    gone_is_404=False,
    names_upload=False,
    invalidates=True,
    problem_types=_V6.problem_types | {INCONSISTENT_LENGTH},
)
_V8 = replace(_V7, version=8, limits_creation=True)
_V9 = replace(_V8, version=9, has_digests=False, problem_types=_V8.problem_types - {COMPLETED_UPLOAD})

PROFILES: Mapping[int, Profile] = MappingProxyType({p.version: p for p in (_V3, _V4, _V5, _V6, _V7, _V8, _V9)})
OLDEST = min(PROFILES)
NEWEST = PROFILES[max(PROFILES)]

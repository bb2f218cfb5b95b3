"""The messages of hook.proto, built when imported, and their translation from and to the JSON schema.

Generated code would tie us to a range of protobuf versions; a test compares these tables with what protoc makes
of hook.proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from google.protobuf.message import DecodeError

SERVICE: Final = "proto.HookHandler"
METHOD: Final = f"/{SERVICE}/InvokeHook"

_STRINGS = "map<string, string>"
_TIMESTAMP = ".google.protobuf.Timestamp"

_MESSAGES: Final[Mapping[str, Mapping[str, tuple[int, str]]]] = {
    "HookRequest": {"type": (1, "string"), "event": (2, "Event"), "deliveryId": (100, "string")},
    "Event": {"upload": (1, "FileInfo"), "httpRequest": (2, "HTTPRequest")},
    "FileInfo": {
        "id": (1, "string"),
        "size": (2, "int64"),
        "sizeIsDeferred": (3, "bool"),
        "offset": (4, "int64"),
        "metaData": (5, _STRINGS),
        "isPartial": (6, "bool"),
        "isFinal": (7, "bool"),
        "partialUploads": (8, "repeated string"),
        "storage": (9, _STRINGS),
        "expiresAt": (10, _TIMESTAMP),
        "rawMetaData": (100, "optional string"),
        "serverMetaData": (101, _STRINGS),
        "principal": (102, "optional string"),
    },
    "HTTPRequest": {
        "method": (1, "string"),
        "uri": (2, "string"),
        "remoteAddr": (3, "string"),
        "header": (4, _STRINGS),
        "client": (100, "optional string"),
        "headerLines": (101, "repeated HeaderLine"),
    },
    "HeaderLine": {"name": (1, "string"), "value": (2, "string")},
    "HookResponse": {
        "httpResponse": (1, "HTTPResponse"),
        "rejectUpload": (2, "bool"),
        "stopUpload": (3, "bool"),
        "changeFileInfo": (4, "FileInfoChanges"),
        "rejectTermination": (5, "bool"),
        "rejectAccess": (100, "bool"),
    },
    "FileInfoChanges": {
        "id": (1, "string"),
        "metaData": (2, _STRINGS),
        "storage": (3, _STRINGS),
        "clearMetaData": (100, "bool"),
        "serverMetaData": (101, _STRINGS),
    },
    "HTTPResponse": {"statusCode": (1, "int64"), "header": (2, _STRINGS), "body": (3, "string")},
}

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {"string": _Field.TYPE_STRING, "int64": _Field.TYPE_INT64, "bool": _Field.TYPE_BOOL}


def file_descriptor() -> descriptor_pb2.FileDescriptorProto:
    """hook.proto as a descriptor, without its service."""
    file = descriptor_pb2.FileDescriptorProto(name="tuspy_server/hooks/hook.proto", package="proto", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, (number, kind) in fields.items():
            _add_field(message, field_name, number, kind)
    return file


def _add_field(message: descriptor_pb2.DescriptorProto, name: str, number: int, kind: str) -> None:
    label, _, element = kind.rpartition(" ") if kind != _STRINGS else ("repeated", "", _STRINGS)
    field = message.field.add(name=name, number=number)
    field.label = _Field.LABEL_REPEATED if label == "repeated" else _Field.LABEL_OPTIONAL
    if element in _SCALARS:
        field.type = _SCALARS[element]
    else:
        field.type = _Field.TYPE_MESSAGE
        type_name = _map_entry(message, name) if element == _STRINGS else element
        field.type_name = type_name if type_name == _TIMESTAMP else f".proto.{type_name}"
    if label == "optional":
        # proto3 keeps the presence of a scalar in a oneof of its own
        field.proto3_optional = True
        field.oneof_index = len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{name}")


def _map_entry(message: descriptor_pb2.DescriptorProto, field_name: str) -> str:
    """Add the message that a map's entries are on the wire; return its name."""
    entry = message.nested_type.add(name=f"{field_name[0].upper()}{field_name[1:]}Entry")
    entry.options.map_entry = True
    _add_field(entry, "key", 1, "string")
    _add_field(entry, "value", 2, "string")
    return f"{message.name}.{entry.name}"


def _message_classes() -> dict[str, Any]:
    # a pool of our own: the default one refuses a second "proto" package with other contents in the same process
    pool = descriptor_pool.DescriptorPool()
    timestamp = descriptor_pb2.FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(timestamp)
    pool.Add(timestamp)
    pool.Add(file_descriptor())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"proto.{name}")) for name in _MESSAGES}


_CLASSES = _message_classes()


def request_bytes(payload: Mapping[str, Any]) -> bytes:
    """A HookRequest on the wire, from a payload in the JSON schema."""
    upload, request = payload["Event"]["Upload"], payload["Event"]["HTTPRequest"]
    message = _CLASSES["HookRequest"](
        type=payload["Type"],
        deliveryId=payload["DeliveryID"],
        event=_CLASSES["Event"](upload=_file_info(upload), httpRequest=_http_request(request)),
    )
    data: bytes = message.SerializeToString()
    return data


def _file_info(upload: Mapping[str, Any]) -> Any:
    message = _CLASSES["FileInfo"](
        id=upload["ID"],
        size=upload["Size"],
        sizeIsDeferred=upload["SizeIsDeferred"],
        offset=upload["Offset"],
        metaData=upload["MetaData"],
        isPartial=upload["IsPartial"],
        isFinal=upload["IsFinal"],
        partialUploads=upload["PartialUploads"] or (),
        storage=upload["Storage"] or {},
        rawMetaData=upload["RawMetaData"],
        serverMetaData=upload["ServerMetaData"],
        principal=upload["Principal"],
    )
    if upload["ExpiresAt"] is not None:
        message.expiresAt.FromDatetime(datetime.fromisoformat(upload["ExpiresAt"]))
    return message


def _http_request(request: Mapping[str, Any]) -> Any:
    return _CLASSES["HTTPRequest"](
        method=request["Method"],
        uri=request["URI"],
        remoteAddr=request["RemoteAddr"],
        header={name: values[0] for name, values in request["Header"].items()},
        client=request["Client"],
        headerLines=[
            _CLASSES["HeaderLine"](name=name, value=value)
            for name, values in request["Header"].items()
            for value in values
        ],
    )


def answer_object(data: bytes) -> dict[str, object]:
    """The answer in the JSON schema, from a HookResponse on the wire. Raises ValueError if it is none."""
    try:
        message = _CLASSES["HookResponse"].FromString(data)
    except DecodeError as exc:
        raise ValueError("the answer is not a HookResponse") from exc
    response, changes = message.httpResponse, message.changeFileInfo
    return {
        "HTTPResponse": {
            "StatusCode": response.statusCode,
            "Header": dict(response.header),
            "Body": response.body,
        },
        "RejectUpload": message.rejectUpload,
        "RejectTermination": message.rejectTermination,
        "RejectAccess": message.rejectAccess,
        "StopUpload": message.stopUpload,
        "ChangeFileInfo": {
            "ID": changes.id,
            # proto3 cannot tell an empty map from none
            "MetaData": dict(changes.metaData) or ({} if changes.clearMetaData else None),
            "Storage": dict(changes.storage) or None,
            "ServerMetaData": dict(changes.serverMetaData) or None,
        },
    }

from __future__ import annotations

import datetime
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.hooks.receivers import GrpcReceiver, grpc_receiver
from tests.hooks.samples import REQUEST, event
from tuspy_server.errors import RejectUpload, StopUpload
from tuspy_server.hooks.payload import HookFailed, RejectTermination
from tuspy_server.models import HookResult, Response

grpc = pytest.importorskip("grpc", reason="grpcio is not installed")

from tuspy_server.hooks.grpc import GrpcHooks, Tls  # noqa: E402
from tuspy_server.hooks.grpc_messages import METHOD, SERVICE, answer_object, file_descriptor  # noqa: E402


def hooks(receiver: GrpcReceiver, **options: Any) -> GrpcHooks:
    return GrpcHooks(receiver.target, **{"backoff": 0.01, "timeout": 20, **options})


def test_the_messages_are_those_of_the_proto_file(hook_pb2: Any) -> None:
    from google.protobuf import descriptor_pb2

    compiled = descriptor_pb2.FileDescriptorProto()
    hook_pb2.DESCRIPTOR.CopyToProto(compiled)
    (service,) = compiled.service
    assert f"{compiled.package}.{service.name}" == SERVICE
    assert [f"/{SERVICE}/{method.name}" for method in service.method] == [METHOD]
    assert [shape(message) for message in compiled.message_type] == [
        shape(message) for message in file_descriptor().message_type
    ]


def shape(message: Any) -> object:
    fields = [(f.name, f.number, f.label, f.type, f.type_name, f.proto3_optional) for f in message.field]
    return message.name, sorted(fields), sorted(n.name for n in message.nested_type)


def test_the_receiver_gets_every_field(grpc_hooks_server: GrpcReceiver) -> None:
    expires = datetime.datetime(2030, 1, 3, tzinfo=datetime.UTC)
    with hooks(grpc_hooks_server) as transport:
        transport.invoke(event(parts=("a", "b"), expires=expires, server_metadata={"tenant": "t1"}))
    (got,) = grpc_hooks_server.got
    upload, request = got.event.upload, got.event.httpRequest
    assert (got.type, got.deliveryId) == ("post-finish", "24e533e0-post_finish")
    assert (upload.id, upload.size, upload.sizeIsDeferred) == ("24e533e02ec3bc40c387f1a0e460e216", 11, False)
    assert (upload.offset, upload.isPartial, upload.isFinal) == (4, False, False)
    assert dict(upload.metaData) == {"filename": "naïve.txt", "flag": ""}
    assert list(upload.partialUploads) == ["a", "b"]
    assert dict(upload.storage) == {"Path": "24e533e02ec3bc40c387f1a0e460e216"}
    assert upload.expiresAt.ToDatetime(datetime.UTC) == expires
    assert upload.rawMetaData == "filename bmHDr3ZlLnR4dA==,flag"
    assert dict(upload.serverMetaData) == {"tenant": "t1"}
    assert (upload.principal, request.client) == ("alice", "203.0.113.7")
    assert (request.method, request.remoteAddr) == ("PATCH", "192.0.2.1:40123")
    assert request.uri == "/up/24e533e02ec3bc40c387f1a0e460e216?x=1"
    assert request.header["Cookie"] == "a=1"
    assert [line.value for line in request.headerLines if line.name == "Cookie"] == ["a=1", "b=2"]


def test_what_is_unknown_is_absent(grpc_hooks_server: GrpcReceiver) -> None:
    with hooks(grpc_hooks_server) as transport:
        transport.invoke(event(expires=None, principal=None, raw_metadata=None))
    upload = grpc_hooks_server.got[0].event.upload
    assert not any(upload.HasField(name) for name in ("expiresAt", "principal", "rawMetaData"))


def test_a_creation_can_be_changed_and_answered(grpc_hooks_server: GrpcReceiver) -> None:
    def answer(request: Any, response: Any, context: Any) -> None:
        response.changeFileInfo.id = "mine"
        response.changeFileInfo.metaData["a"] = "1"
        response.changeFileInfo.storage["Path"] = "x/y"
        response.changeFileInfo.serverMetaData["tenant"] = "t1"
        response.httpResponse.header["X-A"] = "1"

    grpc_hooks_server.answer = answer
    with hooks(grpc_hooks_server) as transport:
        assert transport.invoke(event("pre_create")) == HookResult(
            id="mine",
            metadata={"a": "1"},
            storage={"path": "x/y"},
            server_metadata={"tenant": "t1"},
            response=Response(status=201, headers=(("X-A", "1"),)),
        )


def test_metadata_can_be_cleared(grpc_hooks_server: GrpcReceiver) -> None:
    def answer(request: Any, response: Any, context: Any) -> None:
        response.changeFileInfo.clearMetaData = True

    grpc_hooks_server.answer = answer
    with hooks(grpc_hooks_server) as transport:
        assert transport.invoke(event("pre_create")) == HookResult(metadata={})


@pytest.mark.parametrize(
    ("hook", "field", "error"),
    [
        ("pre_create", "rejectUpload", RejectUpload),
        ("pre_access", "rejectAccess", RejectUpload),
        ("pre_terminate", "rejectTermination", RejectTermination),
        ("post_receive", "stopUpload", StopUpload),
    ],
)
def test_every_refusal_works(grpc_hooks_server: GrpcReceiver, hook: str, field: str, error: type[Exception]) -> None:
    grpc_hooks_server.answer = lambda request, response, context: setattr(response, field, True)
    with hooks(grpc_hooks_server) as transport, pytest.raises(error):
        transport.invoke(event(hook))


def test_an_empty_answer_changes_nothing(grpc_hooks_server: GrpcReceiver) -> None:
    with hooks(grpc_hooks_server) as transport:
        assert transport.invoke(event("pre_create")) is None


def test_configured_fields_and_the_key_become_metadata(grpc_hooks_server: GrpcReceiver) -> None:
    request = replace(REQUEST, headers=(*REQUEST.headers, ("authorization", "Bearer t")))
    with hooks(grpc_hooks_server, forward_headers="Authorization, Cookie, X-Name") as transport:
        transport.invoke(event(request=request))
    (metadata,) = grpc_hooks_server.metadata
    assert metadata["authorization"] == "Bearer t"
    assert metadata["cookie"] == "a=1"
    assert metadata["x-name"] == "na??ve"  # metadata values are ASCII
    assert metadata["idempotency-key"] == "24e533e0-post_finish"


@pytest.mark.parametrize("name", ["X-Data-Bin", "Grpc-Timeout", "x y"])
def test_fields_that_cannot_be_metadata_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be forwarded as gRPC metadata"):
        GrpcHooks("127.0.0.1:1", forward_headers=[name])


@pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
def test_passing_troubles_are_tried_again(grpc_hooks_server: GrpcReceiver, code: str) -> None:
    def answer(request: Any, response: Any, context: Any) -> None:
        if len(grpc_hooks_server.got) < 3:
            context.abort(grpc.StatusCode[code], "later")

    grpc_hooks_server.answer = answer
    with hooks(grpc_hooks_server) as transport:
        transport.invoke(event())
    assert len(grpc_hooks_server.got) == 3
    assert len({metadata["idempotency-key"] for metadata in grpc_hooks_server.metadata}) == 1


@pytest.mark.parametrize(("code", "attempts"), [("UNAVAILABLE", 2), ("INVALID_ARGUMENT", 1)])
def test_a_failure_names_the_status(grpc_hooks_server: GrpcReceiver, code: str, attempts: int) -> None:
    grpc_hooks_server.answer = lambda request, response, context: context.abort(grpc.StatusCode[code], "no use")
    with hooks(grpc_hooks_server, retries=2) as transport, pytest.raises(HookFailed, match=f"{code}: no use"):
        transport.invoke(event())
    assert len(grpc_hooks_server.got) == attempts


def test_the_timeout_bounds_the_whole_event(grpc_hooks_server: GrpcReceiver) -> None:
    grpc_hooks_server.answer = lambda request, response, context: time.sleep(context.time_remaining() + 0.1)
    started = time.monotonic()
    with hooks(grpc_hooks_server, timeout=0.5) as transport, pytest.raises(HookFailed, match="DEADLINE_EXCEEDED"):
        transport.invoke(event())
    assert time.monotonic() - started < 5


def test_an_answer_that_is_no_message_is_a_failure() -> None:
    with pytest.raises(ValueError, match="not a HookResponse"):
        answer_object(b"\xff")


class Pki:
    """A certificate for localhost, and one for the client, each its own authority."""

    def __init__(self, directory: Path) -> None:
        self.server_certificate, self.server_key = issue(directory, "localhost")
        self.client_certificate, self.client_key = issue(directory, "client")

    def server_credentials(self, *, mutual: bool) -> Any:
        return grpc.ssl_server_credentials(
            [(self.server_key.read_bytes(), self.server_certificate.read_bytes())],
            root_certificates=self.client_certificate.read_bytes() if mutual else None,
            require_client_auth=mutual,
        )


def issue(directory: Path, name: str) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = directory / f"{name}.crt", directory / f"{name}.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    pytest.importorskip("cryptography", reason="cryptography is not installed")
    return Pki(tmp_path_factory.mktemp("pki"))


def test_tls_trusts_the_given_certificate_only(hook_pb2: Any, pki: Pki) -> None:
    with grpc_receiver(hook_pb2, pki.server_credentials(mutual=False)) as receiver:
        receiver.target = receiver.target.replace("127.0.0.1", "localhost")
        with hooks(receiver, tls=Tls(server_certificate=pki.server_certificate)) as transport:
            transport.invoke(event())
        for tls in (None, Tls(), Tls(server_certificate=pki.client_certificate)):
            with hooks(receiver, tls=tls, retries=1) as transport, pytest.raises(HookFailed, match="UNAVAILABLE"):
                transport.invoke(event())
    assert len(receiver.got) == 1


def test_mutual_tls_needs_the_client_s_certificate(hook_pb2: Any, pki: Pki) -> None:
    with grpc_receiver(hook_pb2, pki.server_credentials(mutual=True)) as receiver:
        receiver.target = receiver.target.replace("127.0.0.1", "localhost")
        tls = Tls(server_certificate=pki.server_certificate)
        with hooks(receiver, tls=tls, retries=1) as transport, pytest.raises(HookFailed, match="UNAVAILABLE"):
            transport.invoke(event())
        tls = replace(tls, client_certificate=pki.client_certificate, client_key=pki.client_key)
        with hooks(receiver, tls=tls) as transport:
            transport.invoke(event())
    assert len(receiver.got) == 1


def test_half_a_client_certificate_is_refused() -> None:
    with pytest.raises(ValueError, match="only one of them is given"):
        Tls(client_key="client.key")

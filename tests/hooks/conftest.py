from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.hooks.receivers import GrpcReceiver, HttpReceiver, compiled_proto, grpc_receiver, http_receiver


@pytest.fixture
def http_hooks_server() -> Iterator[HttpReceiver]:
    with http_receiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def hook_pb2(tmp_path_factory: pytest.TempPathFactory) -> Any:
    pytest.importorskip("grpc", reason="grpcio is not installed")
    return compiled_proto(tmp_path_factory.mktemp("proto"))


@pytest.fixture
def grpc_hooks_server(hook_pb2: Any) -> Iterator[GrpcReceiver]:
    with grpc_receiver(hook_pb2) as receiver:
        yield receiver

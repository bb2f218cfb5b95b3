"""What `tuspy-server` says and does, from its first line to its exit code."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import tuspy_server
from tests.cli.command import PATIENCE, TUS, Served, run
from tuspy_server.cli import main


def test_a_served_directory_takes_an_upload_and_gives_it_back(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        url = served.upload(b"hello")
        assert served.request("GET", url)[2] == b"hello"
        assert served.request("DELETE", url)[0] == 204


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"tuspy-server {tuspy_server.__version__}\n"


def test_the_help_lists_flags_by_heading(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert text.index("Listening:") < text.index("--port") < text.index("Uploads:") < text.index("--max-size")
    assert "[default: 8080]" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "99999"], "--port"),
        (["--max-size", "5 GX"], "a size such as"),
        (["--expires-after", "soon"], "a duration such as"),
        (["--durability", "maybe"], "'none', 'finish', 'always'"),
        (["--base-path", "http://example.com/files"], "a URL path such as"),
        (["--base-path", "/a/../b"], "a URL path such as"),
        (["--cors-allow-origin", "("], "regular expression"),
        (["--trusted-proxies", "10.0.0.0/99"], "--trusted-proxies"),
        (["--file-perms", "9"], "octal"),
        (["--log-format", "xml"], "--log-format"),
        (["--workers", "0"], "--workers"),
        (["--workers", "2", "--locker", "memory"], "one process only"),
        (["--sliding"], "--sliding needs --expires-after"),
        (["--network-timeout", "0"], "--network-timeout"),
        (["--nonesuch"], "--nonesuch"),
        (["here"], "here"),
        (["--max-size"], "--max-size"),
    ],
)
def test_bad_arguments_get_one_sentence_and_code_2(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("tuspy-server: ")
    assert err.count("\n") == 1
    assert words in err
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_gets_one_sentence_and_code_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("--host", "127.0.0.1", "--port", port, "--upload-dir", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith(f"tuspy-server: cannot listen at 127.0.0.1:{port}: ")
    assert done.stderr.count("\n") == 1


def test_a_directory_that_cannot_be_made_gets_one_sentence_and_code_1(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("--port", "0", "--host", "127.0.0.1", "--upload-dir", str(tmp_path / "file" / "data"))
    assert done.returncode == 1
    assert done.stderr.startswith("tuspy-server: ")
    assert done.stderr.count("\n") == 1


def test_the_memory_locker_claims_the_directory_for_one_process(tmp_path: Path) -> None:
    with Served(tmp_path, "--locker", "memory") as served:
        assert served.upload(b"x")
        done = run("--port", "0", "--host", "127.0.0.1", "--upload-dir", str(tmp_path), "--locker", "memory")
        assert done.returncode == 1
        assert "in use by another process" in done.stderr


def test_the_greeting_is_at_the_root_only(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        status, _, body = served.request("GET", "/")
        assert (status, b"/files/" in body) == (200, True)
        status, headers, body = served.request("HEAD", "/")
        assert (status, body) == (200, b"")
        assert int(headers["Content-Length"]) > 0
        for path in ("/file", "/files2", "/index.html", "//", "/files/a/b"):
            assert served.request("GET", path)[0] == 404
        assert served.request("POST", "/", {**TUS, "Upload-Length": "1"})[0] == 404


def test_the_greeting_can_be_switched_off(tmp_path: Path) -> None:
    with Served(tmp_path, "--no-show-greeting") as served:
        assert served.request("GET", "/")[0] == 404


@pytest.mark.parametrize(
    ("given", "path"), [("up", "/up/"), ("/up", "/up/"), ("/up/", "/up/"), ("/a/b/", "/a/b/"), ("/", "/")]
)
def test_uploads_are_made_at_the_base_path(tmp_path: Path, given: str, path: str) -> None:
    with Served(tmp_path, "--base-path", given) as served:
        assert served.url == f"http://127.0.0.1:{served.address[1]}{path}"
        url = served.create(5)
        assert url.startswith(served.url)
        assert served.offset(url) == 0
        if path != "/":
            without_slash = served.request("POST", path[:-1], {**TUS, "Upload-Length": "5"})
            assert without_slash[0] == 201
            assert served.request("POST", "/", {**TUS, "Upload-Length": "5"})[0] == 404


def test_flags_switch_what_clients_may_do(tmp_path: Path) -> None:
    with Served(
        tmp_path, "--disable-download", "--disable-termination", "--disable-concatenation", "--max-size", "1KiB"
    ) as served:
        _, headers, _ = served.request("OPTIONS", served.url)
        assert headers["Tus-Max-Size"] == "1024"
        extensions = headers["Tus-Extension"].split(",")
        assert "creation" in extensions
        assert not {"termination", "concatenation", "concatenation-unfinished"} & set(extensions)
        url = served.upload(b"x")
        assert served.request("GET", url)[0] == 405
        assert served.request("DELETE", url)[0] == 405
        assert served.request("POST", served.url, {**TUS, "Upload-Length": "1025"})[0] == 413


def test_expired_uploads_are_swept_while_serving(tmp_path: Path) -> None:
    with Served(tmp_path, "--expires-after", "500ms", "--sweep-interval", "100ms") as served:
        url = served.create(5)
        assert served.wait_for("swept uploads=1")
        assert served.request("HEAD", url)[0] == 410


def test_forwarded_fields_count_only_behind_a_proxy(tmp_path: Path) -> None:
    forwarded = {**TUS, "Upload-Length": "1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "up.example"}
    with Served(tmp_path) as served:
        assert served.request("POST", served.url, forwarded)[1]["Location"].startswith(served.url)
    with Served(tmp_path, "--behind-proxy") as served:
        assert served.request("POST", served.url, forwarded)[1]["Location"].startswith("https://up.example/files/")
    with Served(tmp_path, "--behind-proxy", "--trusted-proxies", "192.0.2.1") as served:
        assert served.request("POST", served.url, forwarded)[1]["Location"].startswith(served.url)


@pytest.mark.parametrize(
    ("arguments", "origin", "allowed"),
    [
        ([], "https://any.example", "*"),
        (["--cors-allow-origin", "https://a.example"], "https://a.example", "https://a.example"),
        (["--cors-allow-origin", "https://a.example"], "https://aXexample", None),
        (["--cors-allow-origin", r"https://.*\.example"], "https://b.example", "https://b.example"),
        (["--cors-allow-origin", r"https://.*\.example"], "https://b.example.evil", None),
        (
            ["--cors-allow-origin", r"https://.*\.one", "--cors-allow-origin", "https://two.example"],
            "https://two.example",
            "https://two.example",
        ),
        (["--disable-cors"], "https://any.example", None),
    ],
)
def test_origins_are_allowed_as_named(tmp_path: Path, arguments: list[str], origin: str, allowed: str | None) -> None:
    with Served(tmp_path, *arguments) as served:
        _, headers, _ = served.request("OPTIONS", served.url, {"Origin": origin})
        assert headers["Access-Control-Allow-Origin"] == allowed


def test_flags_may_be_environment_variables_and_flags_win(tmp_path: Path) -> None:
    environment = {
        "TUSPY_SERVER_BASE_PATH": "/env/",
        "TUSPY_SERVER_MAX_SIZE": "2KiB",
        "TUSPY_SERVER_DISABLE_DOWNLOAD": "yes",
    }
    with Served(tmp_path, "--max-size", "3KiB", environment=environment) as served:
        assert served.url.endswith("/env/")
        assert served.request("OPTIONS", served.url)[1]["Tus-Max-Size"] == "3072"
        assert served.request("GET", served.upload(b"x"))[0] == 405


def test_a_bad_environment_variable_gets_one_sentence_and_code_2() -> None:
    done = run(environment={"TUSPY_SERVER_PORT": "http"})
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--port" in done.stderr


def test_each_request_is_one_line_and_no_line_gives_an_upload_away(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        url = served.create(5)
        upload_id = url.rpartition("/")[2]
        served.request("HEAD", url, {**TUS, "X-Request-ID": "seen-1"})
        served.request("GET", f"/wrong/{upload_id}?{upload_id}")
        served.request("GET", f"/{upload_id}")
        served.request("GET", "/files/line%0Abreak")
        served.wait_for("method=GET", 3)
        requests = [line for line in served.lines if " INFO request " in line]
        assert len(requests) == 5
        assert "method=POST path=/files/ status=201" in requests[0]
        assert requests[0].endswith(f"created={upload_id[:6]}...")
        assert f"method=HEAD path=/files/{upload_id[:6]}... status=200" in requests[1]
        assert requests[1].endswith("request_id=seen-1")
        assert upload_id not in "\n".join(served.lines)


def test_a_pipelined_request_is_not_logged_under_the_id_of_the_one_before(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        target = urlsplit(served.create(5))
        head = f"HEAD {target.path} HTTP/1.1\r\nHost: {target.netloc}\r\nTus-Resumable: 1.0.0\r\n"
        with socket.create_connection((target.hostname, target.port), PATIENCE) as client:
            client.sendall(f"{head}X-Request-ID: first\r\n\r\n{head}\r\n".encode())
            served.wait_for("method=HEAD", 2)
        first, second = (line for line in served.lines if "method=HEAD" in line)
        assert first.endswith("request_id=first")
        assert "request_id" not in second


def test_json_lines_hold_the_same_fields(tmp_path: Path) -> None:
    with Served(tmp_path, "--log-format", "json") as served:
        url = served.upload(b"x")
        served.request("HEAD", url, {**TUS, "X-Request-ID": 'quo"te'})
        served.wait_for('"HEAD"')
        created, described = (entry for line in served.lines if (entry := json.loads(line))["msg"] == "request")
    assert created["level"] == "INFO"
    assert created["status"] == 201
    assert isinstance(created["ms"], float)
    assert described["request_id"] == 'quo"te'
    assert described["path"] == f"/files/{created['created']}"


def test_a_head_that_does_not_end_is_bounded_in_time(tmp_path: Path) -> None:
    with Served(tmp_path, "--network-timeout", "300ms") as served, served.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
        assert client.recv(1) == b""


def test_a_later_head_of_a_connection_is_bounded_in_time_and_a_pause_before_it_is_not(tmp_path: Path) -> None:
    with Served(tmp_path, "--network-timeout", "300ms") as served, served.connect() as client:
        for _ in range(2):
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b"ok\n"):
                answer += client.recv(4096)
            time.sleep(0.4)  # longer than a head may take
        client.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
        assert client.recv(1) == b""


def test_a_head_that_does_not_end_is_bounded_in_size(tmp_path: Path) -> None:
    with Served(tmp_path) as served, served.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nX-Long: " + bytes([120]) * (2 << 20))
        assert client.recv(100).startswith(b"HTTP/1.1 431 ")

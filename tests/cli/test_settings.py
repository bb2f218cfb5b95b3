"""From flags, environment and file to settings, without a server."""

from __future__ import annotations

import pickle
import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from tuspy_server.cli import main
from tuspy_server.cli.build import make_app, make_config
from tuspy_server.cli.command import command
from tuspy_server.cli.errors import SettingsError
from tuspy_server.cli.logs import redacted
from tuspy_server.cli.settings import Settings, all_options
from tuspy_server.cli.values import BASE_PATH, DURATION, LOCKER, MODE, NETWORKS, SIZE
from tuspy_server.config import Config


def parse(*arguments: str) -> Settings:
    return Settings.of(command().make_context("tuspy-server", list(arguments)).params)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1048576", 1 << 20),
        ("5GiB", 5 << 30),
        ("5gib", 5 << 30),
        ("1.5 KiB", 1536),
        ("500MB", 500_000_000),
        ("7b", 7),
    ],
)
def test_sizes_are_bytes_with_or_without_a_unit(text: str, size: int) -> None:
    assert SIZE.read(text) == size


@pytest.mark.parametrize("text", ["", "-1", "+1", "1_000", "5G", "GiB", "1.5", "0.3KiB", "٣", "1e3", "1 2"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        SIZE.read(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60s", 60), ("24h", 86400), ("1h30m", 5400), ("500ms", 0.5), ("7d", 604800), ("90", 90), ("1.5s", 1.5), ("0", 0)],
)
def test_durations_are_seconds_with_or_without_units(text: str, seconds: float) -> None:
    assert DURATION.read(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1 s", "1x", "1h30", "h1", "1_0s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        DURATION.read(text)


def test_defaults_are_shown_as_they_are_written() -> None:
    assert [SIZE.show(size) for size in (0, 5120, 8 << 20, 1000)] == ["0", "5KiB", "8MiB", "1000"]
    assert [DURATION.show(time) for time in (0, 0.5, 60, 600, 5400, 86400)] == ["0s", "0.5s", "1m", "10m", "90m", "1d"]
    assert MODE.show(0o664) == "664"


@pytest.mark.parametrize("text", ["a?b", "a#b", "a%2fb", "a b", "..", "/a/./b", "ä", "http://x/"])
def test_what_is_no_base_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        BASE_PATH.read(text)


def test_networks_and_lockers_are_checked_when_they_are_read() -> None:
    assert NETWORKS.read("private, 10.1.2.3/8,*") == ("private", "10.1.2.3/8", "*")
    for kind, text in ((NETWORKS, "proxy.example"), (LOCKER, "zookeeper://x")):
        with pytest.raises(ValueError, match=re.escape(text.partition(":")[0])):
            kind.read(text)


def test_without_flags_the_configuration_is_the_library_s() -> None:
    assert make_config(parse()) == Config(base_path="/files/")


def test_settings_survive_the_way_to_a_worker() -> None:
    settings = parse("--cors-allow-origin", "https://a.example", "--locker", "redis://localhost", "--max-size", "1GiB")
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_an_empty_list_of_events_tells_none() -> None:
    assert parse("--hooks-enabled-events", "").hook_events.hooks_enabled_events == ()
    spaced = parse("--hooks-enabled-events", " pre-create , post-finish ")
    assert spaced.hook_events.hooks_enabled_events == ("pre-create", "post-finish")


def test_a_boolean_takes_no_value_and_swallows_no_flag() -> None:
    """tusd quirk 36: `-behind-proxy false` sets it and ends the parsing."""
    assert main(["--behind-proxy", "false", "--port", "1"]) == 2
    settings = parse("--behind-proxy", "--no-behind-proxy", "--port", "1")
    assert not settings.location.behind_proxy
    assert settings.listening.port == 1


def test_the_file_gives_what_neither_flags_nor_environment_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "tuspy.toml"
    file.write_text(
        'port = 1\nmax-size = "1KiB"\nbase-path = "/toml/"\nbehind-proxy = true\ncors-allow-origin = ["https://a.example"]\n'
    )
    monkeypatch.setenv("TUSPY_SERVER_MAX_SIZE", "2KiB")
    monkeypatch.setenv("TUSPY_SERVER_PORT", "2")
    settings = parse("--config", str(file), "--port", "3")
    assert settings.listening.port == 3
    assert settings.uploads.max_size == 2048
    assert settings.listening.base_path == "/toml/"
    assert settings.location.behind_proxy
    assert settings.cross_origin.cors_allow_origin == ("https://a.example",)


@pytest.mark.parametrize(
    ("text", "words"),
    [("port = ", "not valid TOML"), ("prot = 1", "'prot', which is no flag"), ('port = "x"', "--port")],
)
def test_a_bad_file_gets_one_sentence_and_code_2(
    text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tuspy.toml").write_text(text)
    assert main(["--config", str(tmp_path / "tuspy.toml")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert words in err


def test_hooks_that_decide_are_waited_for_unless_a_flag_bounds_them() -> None:
    assert make_config(parse()).pre_hook_timeout is None
    assert make_config(parse("--pre-hooks-timeout", "2.5s")).pre_hook_timeout == 2.5


def test_every_flag_is_an_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in all_options():
        assert option.allow_from_autoenv
    monkeypatch.setenv("TUSPY_SERVER_HOOKS_GRPC_CLIENT_TLS_KEY", "key.pem")
    monkeypatch.setenv("TUSPY_SERVER_CORS_ALLOW_ORIGIN", "https://a.example https://b.example")
    settings = parse()
    assert settings.grpc_hook.hooks_grpc_client_tls_key == "key.pem"
    assert settings.cross_origin.cors_allow_origin == ("https://a.example", "https://b.example")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cors-allow-credentials"], "--cors-allow-credentials needs --cors-allow-origin"),
        (["--tls-key", "key.pem"], "--tls-certificate and --tls-key need each other"),
        (["--s3-bucket", "a", "--gcs-bucket", "b"], "--s3-bucket and --gcs-bucket exclude each other"),
        (["--hooks-dir", "/nonesuch"], "--hooks-dir: the hooks directory '/nonesuch' does not exist"),
        (["--hooks-plugin", "nonesuch:hooks"], "--hooks-plugin: the plugin 'nonesuch:hooks' is not there"),
        (["--base-url", "files"], "--base-url 'files' is not an absolute"),
        (["--hooks-timeout", "0"], "--hooks-timeout must be longer than 0"),
        (["--lock-lease", "0.5"], "--lock-lease must be at least 1s"),
        (["--azure-storage", "a", "--lock-lease", "5s"], "--lock-lease: Azure grants 15s to 60s"),
    ],
)
def test_flags_that_contradict_get_one_sentence(arguments: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=re.escape(words)), ExitStack() as until:
        make_app(parse("--upload-dir", str(tmp_path), *arguments), until)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/files/", "/files/"),
        ("/files/0123456789abcdef", "/files/012345..."),
        ("/files/short", "/files/short"),
        ("/files/0123456789abcdef/0123456789abcdef", "/files/012345.../012345..."),
        ("/0123456789abcdef0", "/012345..."),
        ("/other/page.html", "/other/page.html"),
    ],
)
def test_paths_are_logged_without_what_gives_access(path: str, shown: str) -> None:
    assert redacted(path, "/files/") == shown

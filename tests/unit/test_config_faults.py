"""Every fault at its place, in plain words, all at once, no secret shown, whatever the text."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter import config
from exporter.config import document, host_port, load, report
from exporter.errors import ConfigError
from tests.tools import configs
from tests.tools.configs import ACCOUNT, account, fault, faults

folder = configs.folder
DATA = Path(__file__).parent / "data" / "config"


def cases() -> list[Any]:
    """The blocks of faults.txt as parameters: a name, the YAML and the faults."""
    blocks = (DATA / "faults.txt").read_text().split("\n=== ")[1:]
    found = []
    for block in blocks:
        name, _, rest = block.partition("\n")
        lines, _, said = f"\n{rest}".rpartition("\n---\n")
        text = f"{lines}\n".replace("@account\n", ACCOUNT)[1:]
        found.append(pytest.param(text, said.strip().splitlines(), id=name))
    return found


# --- what is wrong ---


@pytest.mark.parametrize(("text", "said"), cases())
def test_every_fault_is_told_at_its_place(text, said) -> None:
    assert said == faults(text)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("10054", "must be HOST:PORT or :PORT with a port from 0 to 65535"),
        (":65536", "must be HOST:PORT or :PORT with a port from 0 to 65535"),
        (":-1", "must be HOST:PORT or :PORT with a port from 0 to 65535"),
        (":٣", "must be HOST:PORT or :PORT with a port from 0 to 65535"),
        ("localhost:", "must be HOST:PORT or :PORT with a port from 0 to 65535"),
        ("a b:1", "must be HOST:PORT, and HOST is no host name or address"),
        ("[::1:1", "must be HOST:PORT, and HOST is no host name or address"),
        ("http://x:1", "must be HOST:PORT, and HOST is no host name or address"),
        ("::1:80", "must be HOST:PORT, and HOST is no host name or address (write [::1]:80)"),
    ],
)
def test_a_listen_address_is_a_host_and_a_port(address, said) -> None:
    text = f"web: {{listen_address: '{address}'}}\n{ACCOUNT}"

    assert f"1:23: web.listen_address: {said}" == fault(text)
    with pytest.raises(ValueError, match=r"^must be HOST:PORT"):
        host_port(address)


@pytest.mark.parametrize("path", ["''", "metrics", "/a/../b", "/{x}", "/m?x=1", "//m", "/m m"])
def test_a_telemetry_path_is_a_path(path) -> None:
    said = fault(f"web: {{telemetry_path: '{path}'}}\n{ACCOUNT}".replace("''''", "''"))

    assert said == "1:23: web.telemetry_path: must be a path such as /metrics"


@pytest.mark.parametrize(
    "path", ["/", "/status.json", "/config", "/docs/x", "/-", "/-/", "/-/metrics"]
)
def test_a_telemetry_path_leaves_the_other_pages_alone(path) -> None:
    what = "is a path of the exporter's own pages (use another, such as /metrics)"

    said = fault(f"web: {{telemetry_path: {path}}}\n{ACCOUNT}")

    assert said == f"1:23: web.telemetry_path: {what}"


@pytest.mark.parametrize(
    "url",
    ["", "x.db", "sqlite://x.db", "sqlite:///", "sqlite:////var/", "memory", "pg://u:hunter2@h/d"],
)
def test_a_state_url_is_a_file_a_database_or_memory(url) -> None:
    what = (
        "must be sqlite:///PATH (an absolute PATH has four slashes), postgresql://HOST/DATABASE"
        " or memory:"
    )

    assert f"1:14: state.url: {what}" == fault(f"state: {{url: '{url}'}}\n{ACCOUNT}")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://",
        "postgresql://db",
        "postgresql:///",
        "postgres://d/a/b",
        "postgresql://d/b c",
    ],
)
def test_the_address_of_a_database_names_it(url) -> None:
    what = "must be postgresql://HOST/DATABASE as libpq takes it (USER may stand before HOST)"

    assert f"1:14: state.url: {what}" == fault(f"state: {{url: '{url}'}}\n{ACCOUNT}")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://cicd:swordfish@db/cicd",
        "postgresql://db/cicd?sslmode=require&password=swordfish",
    ],
)
def test_the_password_of_a_database_is_never_in_the_file_nor_repeated(url) -> None:
    said = fault(f"state: {{url: '{url}'}}\n{ACCOUNT}")

    what = "must hold no password (use state.password_file or state.password_env)"
    assert said == f"1:14: state.url: {what}"


@pytest.mark.parametrize("name", ["", "1st", "a-b", "pg_mine", "Cicd", "x" * 64])
def test_a_schema_has_a_plain_name(name) -> None:
    said = fault(f"state: {{schema: '{name}'}}\n{ACCOUNT}")

    assert "1:17: state.schema: must be a name of at most 63 letters" in said


def test_a_password_needs_a_database() -> None:
    said = fault(f"state: {{password_env: PGPASSWORD}}\n{ACCOUNT}")

    assert said == (
        "1:23: state.password_env: must not be given as state.url names no database (remove it)"
    )


def test_a_password_that_is_missing_is_told_at_once(tmp_path) -> None:
    begin = "state: {url: 'postgresql://cicd@db/cicd',"

    said = fault(f"{begin} password_env: NO_SUCH_PASSWORD}}\n{ACCOUNT}")
    assert "state.password_env: variable NO_SUCH_PASSWORD is not set" in said
    said = fault(f"{begin} password_file: '{tmp_path}/none'}}\n{ACCOUNT}")
    assert "state.password_file: file" in said
    assert "none' not found (check the path)" in said


def test_a_password_is_any_line_of_text_and_is_called_one(tmp_path) -> None:
    file = tmp_path / "token"
    begin = f"state: {{url: 'postgresql://cicd@db/cicd', password_file: '{file}'}}\n{ACCOUNT}"
    file.write_text(" pässwörd \n")
    assert configs.read(begin).state.password_file == str(file)

    file.write_text("two\nlines\n")
    said = fault(begin)

    assert f"'{file}' holds more than one line or characters that no password has" in said


def test_sqlite_in_memory_is_called_memory() -> None:
    text = f"state: {{url: 'sqlite:///:memory:'}}\n{ACCOUNT}"

    assert "1:14: state.url: keeps nothing in this form (write memory:)" == fault(text)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "must be a URL such as https://HOST/PATH"),
        ("api.example.com", "must be a URL such as https://HOST/PATH"),
        ("ftp://h", "must be a URL such as https://HOST/PATH"),
        ("https://", "must be a URL such as https://HOST/PATH"),
        ("https://-", "must be a URL such as https://HOST/PATH"),
        ("https://a..b", "must be a URL such as https://HOST/PATH"),
        ("https://[::1", "must be a URL such as https://HOST/PATH"),
        ("https://h:99999", "must be a URL such as https://HOST/PATH"),
        ("https://h:0", "must be a URL such as https://HOST/PATH"),
        ("https://h:x", "must be a URL such as https://HOST/PATH"),
        ("https://h h/", "holds a space or a backslash, so it is no URL"),
        ("https://h\\x", "holds a space or a backslash, so it is no URL"),
        ("https://u:hunter2@h/api", "must not hold credentials (secrets are only referenced)"),
        ("https://hunter2@h", "must not hold credentials (secrets are only referenced)"),
        ("https://h/?t=hunter2", "must not hold a query or a fragment (write only the root)"),
        ("https://h/#x", "must not hold a query or a fragment (write only the root)"),
    ],
)
def test_a_url_is_the_root_of_an_api(url, said) -> None:
    assert f"1:69: accounts[0].url: {said}" == fault(account(url=f"'{url}'"))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"web:\n  x: \0\n", "2:6: syntax: the control character '\\x00' (remove it)"),
        (b"web:\n  x: \x1b[0m\n", "2:6: syntax: the control character '\\x1b' (remove it)"),
        (b"web:\n  x: \xff\n", "2:6: syntax: not UTF-8 text (save the file as UTF-8)"),
        ("web:\n".encode("utf-16"), "1:1: syntax: not UTF-8 text (save the file as UTF-8)"),
        (b"\xef\xbb\xbf- a\n", "1:1: file: must be a mapping of keys such as `accounts:`"),
        (b"# " + b"x" * 4 * 1024**2, "1:1: file: is larger than 4 MiB"),
        (b"[" * 100_000, "1:51: syntax: nested too deeply"),
        (b"- " * 100_000, "1:101: syntax: nested too deeply"),
        (
            b'x: "\\UFFFFFFFF"\n',
            "1:7: syntax: a number in an escape or a directive is too large",
        ),
        (
            b"%YAML 1." + b"1" * 5000,
            "1:9: syntax: a number in an escape or a directive is too large",
        ),
    ],
    ids=["NUL", "ESC", "Latin-1", "UTF-16", "BOM", "large", "flow", "block", "escape", "version"],
)
def test_bytes_that_are_no_configuration_are_refused(data, said) -> None:
    assert [said] == faults(data)


def test_a_file_that_only_others_may_read_is_a_fault(monkeypatch) -> None:
    opened = os.open

    def open_unless_token(path: Any, *args: Any, **keys: Any) -> int:
        if Path(path).name == "token":
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **keys)

    monkeypatch.setattr(os, "open", open_unless_token)
    text = account(token_env="null", token_file="token", ca_file="token")

    assert [
        "1:79: accounts[0].token_file: file 'token' cannot be read: permission denied",
        "1:95: accounts[0].ca_file: file 'token' cannot be read: permission denied",
    ] == faults(text)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("absent.yaml", "file: not found (check --config.file)"),
        (".", "file: is a directory (name the file in it)"),
        ("loop", "file: cannot be read: too many levels of symbolic links"),
        ("a\0b", "file: cannot be read: embedded null byte"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_fault_in_the_same_form(path, said) -> None:
    with pytest.raises(ConfigError) as caught:
        load(path)

    assert [f"{path}:1:1: {said}"] == caught.value.faults


def test_an_alias_bomb_is_refused_quickly() -> None:
    bomb = "web: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"k{i}: &{name} [{', '.join(f'*{before}' for _ in range(9))}]\n"
        for i, (before, name) in enumerate(zip("abcdefgh", "bcdefghi", strict=True))
    )
    begin = time.process_time()

    said = fault(bomb)

    assert said == "1:34: file: more than 200000 values, aliases followed (are they nested?)"
    assert time.process_time() - begin < 10


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"k{i}: 1\n" for i in range(200_000)),
        f"accounts: [{', '.join('1' for _ in range(200_000))}]\n",
        f"accounts: {{{', '.join(f'k{i}: 1' for i in range(200_000))}}}\n",
        "\r".join(f"k{i}: 1" for i in range(200_000)),
    ],
    ids=["lines", "list", "mapping", "carriage returns"],
)
def test_keys_without_number_are_refused_before_one_of_them_is_parsed(monkeypatch, text) -> None:
    monkeypatch.setattr(document, "_Loader", None)  # to be asked would be a fault

    assert fault(text) == "1:1: file: has more than 100000 lines and commas"


def test_what_hides_many_values_in_few_lines_is_not_composed_to_its_end(monkeypatch) -> None:
    monkeypatch.setattr(document, "MAX_VALUES", 1000)
    text = "accounts:\n" + f"{'- ' * 40}x\n" * 1000

    assert fault(text) == "26:77: syntax: more values than any configuration needs"


def test_of_very_many_faults_only_the_first_are_told(monkeypatch) -> None:
    asked = []

    def told(name: str, _: object) -> str:
        asked.append(name)
        return "unknown key"

    monkeypatch.setattr(config, "unknown_key", told)

    said = faults("".join(f"k{i}: 1\n" for i in range(1000)))

    assert len(said) == report.MOST + 1
    assert said[-1] == "1:1: file: 801 faults more (mend these first)"
    assert len(asked) == report.MOST


def test_a_bomb_of_merged_mappings_is_refused() -> None:
    bomb = "k0: &a0 {x: 1}\n" + "".join(
        f"k{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 10)
    )

    what = "more than 200000 values, aliases followed (are they nested?)"
    assert f"1:5: file: {what}" == fault(bomb)


def test_depth_is_counted_through_aliases() -> None:
    text = "k0: &a0 x\n" + "".join(
        f"k{i}: &a{i} {'[' * 30}*a{i - 1}{']' * 30}\n" for i in range(1, 100)
    )

    assert fault(text) == "2:29: syntax: nested too deeply"


def test_a_long_value_is_shortened() -> None:
    said = fault(f"metrics: {{series_limit: {'x' * 1000}}}\n{ACCOUNT}")

    assert f"1:25: metrics.series_limit: must be a whole number, got '{'x' * 60}...'" == said


def test_a_long_duration_is_shortened() -> None:
    said = fault(f"polling: {{interval: {'x' * 1000}}}\n{ACCOUNT}")

    hint = "write 30s, 5m, 1h30m, 1d or a number of seconds"
    assert f"1:21: polling.interval: '{'x' * 60}...' is not a duration ({hint})" == said


def test_a_strange_key_is_quoted() -> None:
    known = "web, state, fleet, polling, metrics, log, labels, accounts"

    said = fault(f'"a b\\n": 1\n{ACCOUNT}')

    assert rf"1:1: 'a b\n': unknown key (known: {known})" == said


def test_nothing_of_a_lone_surrogate_reaches_the_terminal() -> None:
    said = fault(account(name='"\\ud800"'))

    said.encode()
    assert r"1:19: accounts[0].name: holds the control character '\ud800' (remove it)" == said


@pytest.mark.parametrize(
    "line",
    [
        "token: hunter2",
        "password: hunter2",
        "token_env: hunter2",
        "token_env: [hunter2]",
        "token_env: {hunter2: 1}",
        "token_file: ghp_hunter2hunter2hunter2",
        "url: 'https://x:hunter2@h'",
        "proxy: 'https://x:hunter2@h'",
        "interval: 'https://x:hunter2@h'",
        "jobs: 'https://x:hunter2@h'",
        "'https://x:hunter2@h': 1",
        "app: {id: 1, private_key: hunter2}",
        "token_env: '$hunter2'",
        "token_env: *hunter2",
        "token_env: @hunter2",
        "token_env: 'hunter2",
        "token_env: !hunter2 x",
    ],
)
def test_no_secret_is_repeated(line) -> None:
    said = faults(f"accounts:\n- name: a\n  provider: open\n  repos: [x]\n  {line}\n")

    assert said  # and `faults` asserts that the token is not in it


# --- all texts ---

_KEYS = st.sampled_from(
    [
        *("web", "polling", "interval", "metrics", "branches", "duration_buckets"),
        *("accounts", "name", "provider", "repos", "exclude", "jobs", "app", "<<"),
        *("token_env", "token_file", "ca_file", "url", "proxy"),
    ]
) | st.text(max_size=3)
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["stub", "open", "1m", "T", "token", "http://[", "https://h", "9" * 99])
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=20,
)
_YAML_PIECES = st.lists(
    st.sampled_from([*"[]{}:,-?&*!|>'\"%@`#\t\n ab1", "\n  ", "<<: ", "&a ", "*a ", "!!str "]),
    max_size=30,
).map("".join)


@given(st.text() | _YAML_PIECES | _YAML_PIECES.map(lambda text: f"accounts:\n- name: {text}"))
def test_no_text_breaks_the_reader(text) -> None:
    faults(text)


@given(st.binary())
def test_no_bytes_break_the_reader(data) -> None:
    faults(data)


@given(st.fixed_dictionaries({"accounts": _VALUES}) | st.dictionaries(_KEYS, _VALUES))
def test_no_values_break_the_checks(value) -> None:
    for said in faults(yaml.safe_dump(value, allow_unicode=False, sort_keys=False)):
        line, column, where = said.split(":", 2)

        assert int(line) > 0
        assert int(column) > 0
        assert where.isprintable()

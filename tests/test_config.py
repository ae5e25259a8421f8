"""The configuration: every fault at its place, in plain words, all at once, no secret shown."""

from __future__ import annotations

import ssl
import time
import traceback
from pathlib import Path
from typing import Any, ClassVar, Literal

import certifi
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError

from exporter.config import Config, Metrics, Polling, State, Web, example, host_port, load
from exporter.errors import ConfigError
from exporter.providers import Provider, catalogue

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(__file__).parent / "data" / "config"
TOKEN = "hunter2"
ENVIRON = {"T": TOKEN, "EMPTY": " ", "TWO_LINES": f"{TOKEN}\n{TOKEN}"}
ACCOUNT = "accounts: [{name: a, provider: stub, token_env: T, repos: [x]}]\n"


class Stub(Provider):
    """A CI system with a public API."""

    default_url: ClassVar[str | None] = "https://api.stub.example"
    provider: Literal["stub"]
    integration: Literal["github", "jenkins"] = "github"
    """Which of its dialects."""

    @classmethod
    def faults(cls, account: dict[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
        entries = enumerate(account["repos"])
        return [(("repos", i), "is bad (mend it)") for i, entry in entries if entry == "bad"]


class SelfHosted(Stub):
    """A CI system that everybody runs for themselves."""

    default_url: ClassVar[str | None] = None
    provider: Literal["selfhosted"]  # type: ignore[assignment]


class App(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: int
    private_key_file: str
    installation_id: int


class Open(Stub):
    """A CI system that answers everybody, and takes a credential of its own kind."""

    anonymous: ClassVar[bool] = True
    credentials: ClassVar[tuple[str, ...]] = ("token_env", "token_file", "app")
    provider: Literal["open"]  # type: ignore[assignment]
    app: App | None = None


PROVIDERS: dict[str, type[Provider]] = {"open": Open, "selfhosted": SelfHosted, "stub": Stub}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the files that accounts name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\0\xff")
    (tmp_path / "large").write_text("x" * 70_000)
    (tmp_path / "loop").symlink_to("loop")
    return tmp_path


def read(text: str | bytes) -> Config:
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    Path("config.yaml").write_bytes(data)
    return load("config.yaml", environ=ENVIRON, providers=PROVIDERS)


def faults(text: str | bytes) -> list[str]:
    """What is said of `text`, without the file's name; nothing if it is sound."""
    try:
        read(text)
    except ConfigError as error:
        caught = error
    else:
        return []
    assert all(fault.startswith("config.yaml:") for fault in caught.faults)
    assert "\n".join(caught.faults) == str(caught)
    assert TOKEN not in "".join(traceback.format_exception(caught))
    return [fault.removeprefix("config.yaml:") for fault in caught.faults]


def fault(text: str) -> str:
    (only,) = faults(text)
    return only


def account(**keys: str) -> str:
    """A file of one account on one line, sound but for `keys`, in YAML."""
    every = {"name": "a", "provider": "stub", "token_env": "T", "repos": "[x]", **keys}
    return f"accounts: [{{{', '.join(f'{key}: {value}' for key, value in every.items())}}}]\n"


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


@pytest.mark.parametrize("path", ["/", "/status.json", "/-", "/-/", "/-/metrics"])
def test_a_telemetry_path_leaves_the_other_pages_alone(path) -> None:
    what = "is a path of the exporter's own pages (use another, such as /metrics)"

    said = fault(f"web: {{telemetry_path: {path}}}\n{ACCOUNT}")

    assert said == f"1:23: web.telemetry_path: {what}"


@pytest.mark.parametrize(
    "url",
    ["", "x.db", "sqlite://x.db", "sqlite:///", "sqlite:////var/", "memory", "pg://u:hunter2@h/d"],
)
def test_a_state_url_is_sqlite_or_memory(url) -> None:
    what = "must be sqlite:///PATH (an absolute PATH has four slashes) or memory:"

    assert f"1:14: state.url: {what}" == fault(f"state: {{url: '{url}'}}\n{ACCOUNT}")


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
        (b"# " + b"x" * 10 * 1024**2, "1:1: file: is larger than 10 MiB"),
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
    opened = Path.open

    def open_unless_token(self: Path, *args: Any, **keys: Any) -> Any:
        if self.name == "token":
            raise PermissionError(13, "Permission denied")
        return opened(self, *args, **keys)

    def refuse(self: ssl.SSLContext, cafile: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", open_unless_token)
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", refuse)
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
    begin = time.monotonic()

    said = fault(bomb)

    assert "file: more than 200000 values, aliases followed (are they nested?)" in said
    assert time.monotonic() - begin < 10


def test_a_bomb_of_merged_mappings_is_refused() -> None:
    bomb = "k0: &a0 {x: 1}\n" + "".join(
        f"k{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 10)
    )

    assert "more than 200000 values" in fault(bomb)


def test_depth_is_counted_through_aliases() -> None:
    text = "k0: &a0 x\n" + "".join(
        f"k{i}: &a{i} {'[' * 30}*a{i - 1}{']' * 30}\n" for i in range(1, 100)
    )

    assert fault(text).endswith(": syntax: nested too deeply")


def test_a_long_value_is_shortened() -> None:
    said = fault(f"metrics: {{series_limit: {'x' * 1000}}}\n{ACCOUNT}")

    assert f"1:25: metrics.series_limit: must be a whole number, got '{'x' * 60}...'" == said


def test_a_long_duration_is_shortened() -> None:
    assert len(fault(f"polling: {{interval: {'x' * 1000}}}\n{ACCOUNT}")) < 300


def test_a_strange_key_is_quoted() -> None:
    assert fault(f'"a b\\n": 1\n{ACCOUNT}').startswith(r"1:1: 'a b\n': ")


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


# --- what is right ---


def test_an_account_is_all_that_is_needed() -> None:
    config = read(ACCOUNT)

    (only,) = config.accounts
    assert Config(accounts=config.accounts) == config
    assert (Web(), State(), Polling(), Metrics()) == (
        config.web,
        config.state,
        config.polling,
        config.metrics,
    )
    assert isinstance(only, Stub)
    assert ("a", "stub", ["x"], None) == (only.name, only.provider, only.repos, only.interval)
    assert () == config.warnings


def test_the_defaults_are_those_of_the_contract() -> None:
    day = 86400

    assert (":10054", "/metrics") == (Web().listen_address, Web().telemetry_path)
    assert ("sqlite:///cicd-exporter.db", "cicd-exporter.db") == (State().url, State().path)
    assert (30 * day, "fail") == (State().retention, State().on_corrupt)
    assert {
        "interval": 60,
        "lookback": day,
        "timeout": 30,
        "max_interval": 900,
        "rerun_window": day,
        "max_open_age": 7 * day,
        "reserve": 0.1,
    } == Polling().model_dump()
    assert {
        "branches": ("main", "master", "develop", "release/*"),
        "duration_buckets": (
            *(10, 30, 60, 120, 180, 300, 600, 900),
            *(1800, 3600, 7200, 14400, 28800, 86400),
        ),
        "queue_buckets": (1, 5, 15, 60, 300, 900, 3600, 14400, 86400),
        "series_limit": 500_000,
        "zero_hold": 120,
    } == Metrics().model_dump()


def test_every_key_is_read() -> None:
    config = read(
        """\
web: {listen_address: "[::1]:0", telemetry_path: /m/etrics/}
state: {url: "memory:", retention: 90d, on_corrupt: quarantine}
polling:
  interval: 1m30s
  lookback: 1.5s
  timeout: 7
  max_interval: 0.5e3
  rerun_window: 1d2h
  max_open_age: 1h
  reserve: 0
metrics:
  branches: []
  duration_buckets: [0.5, 1, 2.5]
  queue_buckets: [1]
  series_limit: 1
  zero_hold: 0
accounts:
  - name: no
    provider: stub
    integration: jenkins
    url: https://ci.example:8443/api/
    token_file: token
    ca_file: null
    proxy: http://proxy.example:3128
    interval: 2m
    repos: [12, "1.10", 2024-01-01, 0x1F, 007, yes]
    exclude: [x/**, 7]
    jobs: true
"""
    )

    assert ("[::1]:0", "/m/etrics/") == (config.web.listen_address, config.web.telemetry_path)
    assert ("memory:", None) == (config.state.url, config.state.path)
    assert (90 * 86400, "quarantine") == (config.state.retention, config.state.on_corrupt)
    assert [90, 1.5, 7, 500, 93600, 3600, 0] == list(config.polling.model_dump().values())
    assert [(), (0.5, 1, 2.5), (1,), 1, 0] == list(config.metrics.model_dump().values())
    assert {
        "name": "no",
        "provider": "stub",
        "url": "https://ci.example:8443/api/",
        "token_env": None,
        "token_file": "token",
        "ca_file": None,
        "proxy": "http://proxy.example:3128",
        "interval": 120,
        "repos": ["12", "1.10", "2024-01-01", "0x1F", "007", "yes"],
        "exclude": ["x/**", "7"],
        "jobs": True,
        "integration": "jenkins",
    } == config.accounts[0].model_dump()


@pytest.mark.parametrize(
    "text",
    [
        "web:\nstate: ~\npolling: null\nmetrics: {}\n" + ACCOUNT,
        "%YAML 1.1\n---\n" + ACCOUNT + "...\n",
        ACCOUNT.replace("\n", "\r\n"),
        "\ufeff" + ACCOUNT,
        account(name="acmé-ünïted"),
        account(name="!!str 5"),
        account(url="http://localhost:80/x"),
        account(url="'http://[::1]:80'"),
        account(url="https://bücher.example"),
        account(token_env="null", token_file="token"),
        account(interval="1d"),  # an account may be slower than any backing off
        account(exclude="[]"),
        "state: {retention: 1h}\npolling: {lookback: 1h, interval: 15m}\n" + ACCOUNT,
    ],
)
def test_what_is_right_is_not_complained_of(text) -> None:
    assert () == read(text).warnings


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        (":10054", ("", 10054)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("localhost:65535", ("localhost", 65535)),
        ("[::1]:80", ("::1", 80)),
        ("[fe80::1%eth0]:80", ("fe80::1%eth0", 80)),
    ],
)
def test_a_listen_address_has_its_parts(address, parts) -> None:
    assert parts == host_port(address)


def test_mappings_are_shared_with_anchors() -> None:
    config = read(
        """\
accounts:
  - &base {name: a, provider: stub, token_env: T, repos: &repos [x, y], interval: 5m}
  - {<<: *base, name: b, repos: [z]}
  - {<<: [{interval: 7m}, *base], name: c}
  - {name: d, provider: open, token_env: T, repos: *repos}
"""
    )

    assert [("a", ["x", "y"], 300), ("b", ["z"], 300), ("c", ["x", "y"], 420)] == [
        (a.name, a.repos, a.interval) for a in config.accounts[:3]
    ]
    assert ["x", "y"] == config.accounts[3].repos


def test_files_are_looked_for_in_the_folder_of_the_configuration(folder, monkeypatch) -> None:
    app = "{id: 1, private_key_file: key, installation_id: 2}"
    text = account(provider="open", token_env="null", app=app, ca_file=certifi.where())
    (folder / "config.yaml").write_text(text + "  # end\n")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")

    (found,) = load("../config.yaml", providers=PROVIDERS).accounts

    assert isinstance(found, Open)
    assert found.app == App(id=1, private_key_file="../key", installation_id=2)
    assert certifi.where() == found.ca_file


def test_a_configuration_cannot_be_changed() -> None:
    config = read(ACCOUNT)

    with pytest.raises(ValidationError, match="frozen"):
        config.web.telemetry_path = "/x"


def test_a_configuration_holds_no_secret() -> None:
    config = read(account(token_env="T") + "web: {}\n")

    assert TOKEN not in repr(config)
    assert TOKEN not in config.model_dump_json()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            account(provider="open", token_env="null"),
            "1:12: accounts[0]: no token: anonymous, with a low rate limit (set {})".format(
                "token_env or token_file or app"
            ),
        ),
        (
            account(url="http://ci.example"),
            "1:69: accounts[0].url: the token travels unencrypted (use https)",
        ),
        (
            account(name="'${NAME}'"),
            "1:19: accounts[0].name: `${...}` is not expanded (it is taken as it stands)",
        ),
    ],
    ids=["anonymous", "unencrypted", "template"],
)
def test_what_is_doubtful_is_a_warning(text, said) -> None:
    assert (f"config.yaml:{said}",) == read(text).warnings


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


# --- the example ---


def test_the_example_shows_every_key_of_an_account_once_and_then_what_differs() -> None:
    text = example({"stub": Stub, "open": Open})

    shown = yaml.safe_load(text)["accounts"]
    assert set(Stub.model_fields) == set(shown[0])
    assert {"name", "provider", "integration", "app", "token_env", "repos"} == set(shown[1])
    assert "  # A CI system with a public API.\n" in text
    assert "    # Which of its dialects. One of github, jenkins.\n    integration: github\n" in text


def test_the_example_takes_values_that_have_no_default_from_the_provider() -> None:
    class Special(Stub):
        """List of forms.

        - `owner/name`: one
        - `owner/*`: all
        """

        example_values: ClassVar[dict[str, Any]] = {"repos": ["acme/*", 7], "extra": {"a": "x y"}}
        extra: dict[str, str]
        needed: str

    text = example({"stub": Special})

    assert '    repos: ["acme/*", 7]\n' in text
    assert '    extra: {a: "x y"}\n' in text
    assert '    needed: "..."\n' in text
    assert "  # - `owner/name`: one\n  # - `owner/*`: all\n" in text


def test_the_committed_example_is_current() -> None:
    remedy = "python -c 'from exporter.config import example; print(example(), end=\"\")'"

    assert example() == (ROOT / "config.example.yaml").read_text(), f"make it anew: {remedy}"


def test_the_example_loads_and_its_settings_are_the_defaults() -> None:
    text = (ROOT / "config.example.yaml").read_text()
    variables = [a["token_env"] for a in yaml.safe_load(text)["accounts"]]

    config = load(ROOT / "config.example.yaml", environ=dict.fromkeys(variables, TOKEN))

    assert Config(accounts=config.accounts) == config
    assert list(catalogue()) == [a.provider for a in config.accounts]

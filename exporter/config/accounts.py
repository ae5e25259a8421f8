"""What an account must be beyond the types of its keys: credentials, URLs, files, names."""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path as File
from typing import Any
from urllib.parse import SplitResult, urlsplit

from exporter import files
from exporter.config.credentials import (
    Environment,
    content,
    secret_env,
    secret_file,
    shown_file,
    warn_of_others,
)
from exporter.config.document import Path
from exporter.config.report import Report
from exporter.config.schema import LONGEST, glob_fault
from exporter.messages import duration, unknown_key, unknown_word
from exporter.providers import Provider
from exporter.redaction import shown

CREDENTIALS = ("token_env", "token_file")

_MAX_LABEL = 200
_HOST = re.compile(r"\w(?:[\w-]*\w)?(?:\.[\w-]+)*\.?|[0-9A-Fa-f:.]+", re.ASCII)


def read_accounts(
    report: Report, raw: Mapping[str, Any], around: Environment
) -> tuple[Provider, ...]:
    """The accounts of the document; those that are past use are left out."""
    accounts = raw.get("accounts")
    path: Path = ("accounts",)
    if "accounts" not in raw:
        report.fault(path, "required key is missing (it lists what to poll)")
    elif not isinstance(accounts, list):
        report.fault(path, f"must be a list, got {shown(accounts)} (write `- name: ...` below it)")
    elif not accounts:
        report.fault(path, "must not be empty (write at least one account)")
    if not isinstance(accounts, list):
        return ()
    found = [_account(report, (*path, i), item, around) for i, item in enumerate(accounts)]
    _unique_names(report, accounts)
    return tuple(account for account in found if account is not None)


def _account(report: Report, path: Path, raw: Any, around: Environment) -> Provider | None:
    if not isinstance(raw, dict):
        what = f"must be a mapping, got {shown(raw)} (write `name:`, `provider:` and so on)"
        report.fault(path, what)
        return None
    provider = _provider(report, path, raw, around.providers)
    values = {key: _in_folder(key, value, around.folder) for key, value in raw.items()}
    if provider is None:  # what every account has can be checked all the same
        _keys_of_none(report, path, raw, around.providers)
        shared = {key: value for key, value in values.items() if key in Provider.model_fields}
        values = {**shared, "provider": ""}
    model = provider or Provider
    spare = _stand_ins(model, values["provider"])
    account = report.validated(model, values, path, stand_ins=spare)
    _check_texts(report, path, raw, around)
    warn_of_others(report, path, raw, around.folder)
    if account is not None:
        _interval(report, (*path, "interval"), account.interval)
    if provider is not None:
        _credentials(report, path, raw, provider)
        if provider.default_url is None and raw.get("url") is None:
            report.fault((*path, "url"), "required key is missing (the root of the API)")
        _site(report, (*path, "url"), raw.get("url"), provider)
        for place, fault in account.faults(dict(account)) if account is not None else ():
            if not report.blamed((*path, *place)):
                report.fault((*path, *place), fault)
    return account


def _stand_ins(provider: type[Provider], name: str) -> dict[str, Any]:
    """Values for keys that have no default and cannot be used."""
    required = [key for key, field in provider.model_fields.items() if field.is_required()]
    return {**dict.fromkeys(required, "unnamed"), "repos": ["unnamed"], "provider": name}


def _check_texts(report: Report, path: Path, raw: Mapping[str, Any], around: Environment) -> None:
    for key, check in _CHECKS.items():
        value = raw.get(key)
        place = (*path, key)
        if isinstance(value, str) and report.sound(place):
            report.fault_if(place, check(value, around))
    for key, check_item in _ITEM_CHECKS.items():
        items = raw.get(key)
        for i, item in enumerate(items if isinstance(items, list) else ()):
            if isinstance(item, str) and report.sound((*path, key, i)):
                report.fault_if((*path, key, i), check_item(item))


def _keys_of_none(
    report: Report, path: Path, raw: Mapping[str, Any], providers: Mapping[str, type[Provider]]
) -> None:
    models: list[type[Provider]] = [Provider, *providers.values()]
    known = dict.fromkeys(key for model in models for key in model.model_fields)
    for key in raw:
        if key not in known:
            place = (*path, key)
            report.fault(
                place, partial(unknown_key, key, known), position=report.key_position(place)
            )


def _provider(
    report: Report, path: Path, raw: Mapping[str, Any], providers: Mapping[str, type[Provider]]
) -> type[Provider] | None:
    name, place = raw.get("provider"), (*path, "provider")
    if "provider" not in raw:
        report.fault(place, f"required key is missing (one of {', '.join(providers)})")
    elif not isinstance(name, str) or name not in providers:
        report.fault(place, unknown_word(name, providers))
    else:
        return providers[name]
    return None


def _in_folder(key: str, value: Any, folder: str) -> Any:
    """File names, those inside nested mappings too, from where the program runs."""
    if isinstance(value, dict):
        return {inner: _in_folder(inner, item, folder) for inner, item in value.items()}
    is_file = key.endswith("_file") and isinstance(value, str) and value
    return str(File(folder, value)) if is_file else value


def _credentials(
    report: Report, path: Path, raw: Mapping[str, Any], provider: type[Provider]
) -> None:
    keys: tuple[str, ...] = getattr(provider, "credentials", CREDENTIALS)
    given = [key for key in raw if key in keys and raw[key] is not None]
    for extra in given[1:]:
        place = (*path, extra)
        what = f"only one of {', '.join(keys)} can be used (`{given[0]}` is there too)"
        report.fault(place, what, position=report.key_position(place))
    if not given and provider.anonymous:
        report.warn(path, f"no token: anonymous, with a low rate limit (set {' or '.join(keys)})")
    elif not given:
        what = f"required key is missing (exactly one of {', '.join(keys)})"
        report.fault((*path, keys[0]), what)
    url = raw.get("url")
    if given and isinstance(url, str) and _in_the_clear(url):
        report.warn((*path, "url"), "the token travels unencrypted (use https)")


def _interval(report: Report, path: Path, interval: float | None) -> None:
    if interval is not None and not 0 < interval <= LONGEST:
        report.fault(path, f"must be greater than 0 and at most {duration(LONGEST)}")


def _unique_names(report: Report, accounts: list[Any]) -> None:
    lines: dict[str, int] = {}
    for i, account in enumerate(accounts):
        name = account.get("name") if isinstance(account, dict) else None
        path = ("accounts", i, "name")
        if not isinstance(name, str) or not name:
            continue
        if name in lines:
            what = f"{shown(name)} is the name of the account on line {lines[name]} too"
            report.fault(path, f"{what} (names are unique)")
        else:
            lines[name] = report.position(path).line


def _name(text: str, _: Environment) -> str | None:
    if len(text.encode("utf-8", "replace")) > _MAX_LABEL:
        return f"must have at most {_MAX_LABEL} bytes (it is a label)"
    return _edges(text)


def _edges(text: str) -> str | None:
    return None if text == text.strip() else "begins or ends with a space (remove it)"


def _root(text: str, _: Environment) -> str | None:
    return _url_fault(text, "https://HOST/PATH")


def _site(report: Report, path: Path, url: Any, provider: type[Provider]) -> None:
    """Tell of a page for people in place of the API, whose root is then known."""
    if isinstance(url, str) and report.sound(path) and (api := provider.api_instead_of(url)):
        report.fault(path, f"is an address for people, not the root of the API (write {api})")


def _proxy(text: str, _: Environment) -> str | None:
    return _url_fault(text, "http://HOST:PORT")


def _url_fault(text: str, form: str) -> str | None:
    if re.search(r"[\s\\]", text):
        return "holds a space or a backslash, so it is no URL"
    parts = _split(text)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        return f"must be a URL such as {form}"
    if "@" in parts.netloc:
        return "must not hold credentials (secrets are only referenced)"
    if "?" in text or "#" in text:
        return "must not hold a query or a fragment (write only the root)"
    return None


def _split(text: str) -> SplitResult | None:
    """The parts of a URL whose host and port can be used."""
    try:
        parts = urlsplit(text)
        host = (parts.hostname or "").encode("idna").decode()
        sound = bool(_HOST.fullmatch(host)) and parts.port != 0
    except ValueError:  # UnicodeError is one
        return None
    return parts if sound else None


def _in_the_clear(url: str) -> bool:
    parts = _split(url)
    if parts is None or parts.scheme != "http":
        return False
    host = parts.hostname or ""
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost" and not host.endswith(".localhost")


def _ca_file(name: str, around: Environment) -> str | None:
    path = str(File(around.folder, name))
    certificates, what = content(path, name, most=files.LARGE)
    if what:
        return what
    try:
        with files.in_memory(certificates) as file:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError:
        return f"{shown_file(path, name)} holds no certificates in PEM form"
    return None


_CHECKS: Mapping[str, Callable[[str, Environment], str | None]] = {
    "name": _name,
    "url": _root,
    "web_url": _root,
    "proxy": _proxy,
    "token_env": secret_env,
    "token_file": secret_file,
    "ca_file": _ca_file,
}
_ITEM_CHECKS: Mapping[str, Callable[[str], str | None]] = {"repos": _edges, "exclude": glob_fault}

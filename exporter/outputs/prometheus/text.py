"""The two text formats: how a family and its samples are written.

They differ in a counter's name, the end and the exemplars. prometheus-client's encoder
takes 25 times as long as this one; a test compares what they write.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import accumulate
from typing import Literal

from prometheus_client.utils import floatToGoString

from exporter.ledger.rows import Exemplar, Labels
from exporter.metrics.exemplars import LABELS
from exporter.metrics.families import Family
from exporter.metrics.gauges import Exemplars, Item

Format = Literal["text", "openmetrics", "protobuf"]
"""All there are: `protobuf` has a module of its own."""

_LARGE = 1e6
"""Below it Python's `repr` of a float is what Go writes."""
_MOST_NUMBERS, _MOST_LABELS = 65536, 1024
"""How many texts are remembered, of all numbers and of each family's last labels."""


def head(family: Family, form: Format) -> bytes:
    """The lines before the samples of a family."""
    name = family.name.removesuffix("_total") if form == "openmetrics" else family.name
    return f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}\n".encode()


def encode_labels(names: Labels, values: Labels) -> str:
    """Labels as they are written, without braces."""
    text = "".join(values)
    if "\\" in text or '"' in text or "\n" in text:
        values = tuple(map(_escaped, values))
    return _template(names) % values


@cache
def _template(names: Labels) -> str:
    return ",".join(f'{name}="%s"' for name in names)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def number(value: float) -> str:
    """A number as Go and prometheus-client write it."""
    if -_LARGE < value < _LARGE:
        return repr(value or 0.0)  # zero without a sign
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]  # untyped upstream


class _Numbers(dict[float, str]):
    """What was written before, as most numbers are whole and small."""

    def __missing__(self, value: float) -> str:
        if len(self) >= _MOST_NUMBERS:
            self.clear()
        text = self[value] = number(value)
        return text


_known = _Numbers().__getitem__


class _Labels(dict[Labels, str]):
    """The labels that the series of a family do not share, as they are written."""

    def __init__(self, names: Labels, before: str, after: str) -> None:
        self._names, self._before, self._after = names, before, after

    def __missing__(self, values: Labels) -> str:
        if len(self) >= _MOST_LABELS:
            self.clear()
        own = self._before + encode_labels(self._names, values) if self._names else ""
        text = self[values] = own + self._after
        return text


class Writer:
    """Writes the samples of one family in one format.

    `bounds` are those of a histogram. `shared` is how many labels the samples written
    at once have in common.
    """

    def __init__(
        self, family: Family, form: Format, *, bounds: tuple[float, ...], shared: int
    ) -> None:
        self._name = family.name
        self._head = head(family, form)
        is_histogram = family.kind == "histogram"
        after = "" if is_histogram else "} " if family.labels else " "
        self._own = _Labels(family.labels[shared:], "," if shared else "", after)
        self._shows_exemplars = form == "openmetrics"
        self._is_labelled = bool(family.labels)
        self._lines: list[str] = []
        self.samples_each = 1
        """How many samples a series has."""
        if is_histogram:
            self.samples_each = len(bounds) + 3
            for bound in (*bounds, float("inf")):  # a beginning, an end and a number each
                self._lines += ["", f',le="{number(bound)}"}} ', ""]

    def head(self, size: int) -> bytes:
        """What is before the samples of the family, which are so many bytes."""
        return self._head

    def encode(self, groups: Iterable[tuple[str, Sequence[Item]]]) -> list[bytes]:
        """The samples of each group: its labels, as they are `encode_labels`, and its series."""
        texts = self._histograms(groups) if self._lines else self._plain(groups)
        try:
            return [text.encode() for text in texts]
        except UnicodeEncodeError:
            # What a label could not be cleaned of must not take the whole scrape down.
            return [text.encode("utf-8", "replace") for text in texts]

    def _plain(self, groups: Iterable[tuple[str, Sequence[Item]]]) -> list[str]:
        name, own, texts = self._name, self._own, list[str]()
        last: Sequence[Item] = ()
        ends: list[str] = []
        for shared, items in groups:
            if items is not last:  # gauges of many pipelines say the very same
                last = items
                ends = [
                    f"{own[labels]}{_known(value)}{self._told(value, exemplars)}\n"
                    if exemplars
                    else f"{own[labels]}{_known(value)}\n"
                    for labels, (value,), exemplars in items
                ]
            start = f"{name}{{{shared}" if self._is_labelled else name
            texts.append(start + start.join(ends) if ends else "")
        return texts

    def _told(self, value: float, exemplars: Exemplars) -> str:
        """The exemplar of a counter, unless it is of what is held back."""
        return _told_exemplar(exemplars[0]) if self._shows_exemplars and value else ""

    def _histograms(self, groups: Iterable[tuple[str, Sequence[Item]]]) -> list[str]:
        name, own, template, texts = self._name, self._own, self._lines, []
        for shared, items in groups:
            pieces: list[str] = []
            for labels, vector, exemplars in items:
                told_all = shared + own[labels]
                start = f"{name}_bucket{{{told_all}"
                counts = [*map(_known, accumulate(vector[:-1]))]
                lines = template.copy()
                lines[::3] = [f"\n{start}"] * len(counts)
                lines[0] = start
                lines[2::3] = counts
                if exemplars and self._shows_exemplars:
                    for bucket, exemplar in exemplars.items():
                        if vector[bucket]:  # else it is of what is held back
                            lines[3 * bucket + 2] += _told_exemplar(exemplar)
                lines.append(
                    f"\n{name}_count{{{told_all}}} {counts[-1]}"
                    f"\n{name}_sum{{{told_all}}} {number(vector[-1])}\n"
                )
                pieces += lines
            texts.append("".join(pieces))
        return texts


def _told_exemplar(exemplar: Exemplar) -> str:
    labels = encode_labels(LABELS[: len(exemplar.build)], exemplar.build)
    return f" # {{{labels}}} {number(exemplar.value)} {exemplar.at!r}"

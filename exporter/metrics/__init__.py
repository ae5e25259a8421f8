"""Every metric family, and what a build does to them.

`families` is the table and `reference` its page. `labels`, `effects`, `facts` (what a
pipeline remembers beside its counters) and `gauges` are pure. `book` holds the series in
memory, and `draft` tells what a findings would do to it.
"""

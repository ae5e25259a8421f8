"""Every metric family, and what a build does to them.

`families` is the table, `labels` and `effects` are pure, `facts` is what a pipeline
remembers beside its counters, `book` holds the series in memory.
"""

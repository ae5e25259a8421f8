"""Every metric family, and what a build does to them: pure functions over rows of the ledger.

`families` is the table and `reference` its page. News of builds become `effects`: `labels` say of
which pipeline, `increments` what is counted, `facts` what is remembered of the pipeline beside
that. `changes` decides what they make of the rows, `cardinality` where they go when there is no
room, and `eviction` which pipelines a lowered limit leaves out. `gauges` are made of facts.
"""

"""What a scrape shows: series and gauges in memory, made of the ledger's rows by one method."""

"""One poll of one repo: the pages to read, the details to fill in, the builds to refresh."""

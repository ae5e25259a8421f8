"""One poll of one repo: the pages to read, the gaps to fill, the builds to refresh."""

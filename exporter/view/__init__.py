"""The series in memory, which a scrape shows."""

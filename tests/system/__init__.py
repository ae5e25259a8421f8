"""The exporter and its client among real servers, processes and tools."""

"""What the exporter writes for others: one package a format family."""

"""cicd-exporter: builds and jobs of many CI systems as Prometheus metrics."""

__version__ = "0.1.0"

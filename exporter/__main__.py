"""`python -m exporter` is `cicd-exporter`."""

import sys

from exporter.cli import main

sys.exit(main())

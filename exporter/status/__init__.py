"""What the status page and `/status.json` say."""

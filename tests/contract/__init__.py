"""What every provider and every store must hold to, over emulators on loopback and real files."""

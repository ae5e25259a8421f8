"""What tests are made with: emulators, rigs, servers that misbehave, and tools of others."""

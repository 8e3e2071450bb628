"""Check the settings of a command, and build plain objects from its config."""

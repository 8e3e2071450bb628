"""From a config to plain objects."""

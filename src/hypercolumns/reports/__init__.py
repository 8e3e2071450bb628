"""Tables and views that a person reads, in the terminal and as files."""

"""Check the settings of a command, and build data sets, models and trainers from the config of the command."""

"""Labels on the disk: masks that are whole or absent, and the journals from which edits are undone and made again."""

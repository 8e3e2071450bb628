"""Files: atomic writes, images and masks, and checkpoints."""

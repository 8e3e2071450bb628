"""The Lightning data modules of images with masks, and of the samples in a store."""

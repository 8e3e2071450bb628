"""Learn a classifier from a few labelled pixels: kept maps, the sample, the training, views and suggestions."""

"""Pictures of labels and predictions, and plots of metrics."""

"""Pictures of labels, predictions and figures."""

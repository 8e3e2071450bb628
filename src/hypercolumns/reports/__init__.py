"""Reports for people: tables in the terminal, CSV files, and samples in TensorBoard's projector."""

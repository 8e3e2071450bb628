"""Reports for people: tables in the terminal, CSV files, and views for TensorBoard."""

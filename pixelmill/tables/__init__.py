"""What writes the tables of models (`python -m pixelmill.tables.…`)."""

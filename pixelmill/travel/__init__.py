"""What travels between a run and those who embed for it, and where it is handed over."""

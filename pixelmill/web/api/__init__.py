"""The JSON endpoints, by what they are about. The page uses nothing else, so scripts can do what it does."""

"""Prefect tasks: each wraps one call of the library with retries and a name."""

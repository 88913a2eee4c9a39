"""PostgreSQL with pgvector: tables, changed in transactions."""

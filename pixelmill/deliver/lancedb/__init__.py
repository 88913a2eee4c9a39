"""LanceDB: tables of versions, on a disk or an object store."""

"""The store: one row an image, one matrix a model, in HDF5 that plain h5py opens.

What other rooms use of it; every other module is the store's own:

    reader       `Store`, one snapshot, and its matrices (`MatrixView`, `Ensemble`)
    manifest     what a snapshot says of itself: `Matrix`, `Provenance`
    extents      where rows lie: `Extent`
    columns      what is known about pictures: `Column`, `ColumnGroup`
    column_values  that as arrays: `ColumnValues`
    rows         what passes in and out: `ShardRows`, `Changes`, `FailureGroup`, `Place`, ...
    commit       `StoreWriter`, which adds to a store
    ledger       `Ledger`: scans, worklist, contents, sizes, quarantine, runs; a writer has one
    content_sizes  which contents have a size in bytes; `sha256_of` rows
    readonly     `ledger_of` a store, to read beside writers or on read-only media
    ledger_copy  a ledger to try things out on
    living       which runs live: `keep`, `holding`, `lives`
    runs         what is on record of a run that has not left its report yet (`Begun`)
    generations  which matrix of a model is served, filled or old
    ensembles    models side by side under a name
    weighting    how much each of several models counts
    quarantine   reasons without their numbers (`general`)
    creation     whether there is a store at all
    column_writer  columns begun, joined to rows, dropped
    matrix_writer  vectors of stored rows put into a matrix; matrices dropped
    compact      few large parts out of many small ones
    forgotten    which rows were forgotten, and what of that is not done yet
    erase        rows erased from parts, master and ledger
    backup       a whole copy of a store, and the way back
    labels       what people call pictures in the gallery
    verify       whether all is whole, and `repair` where it is not
    export       the rows of a store for other programs
    master       the name of the published file, and the folder in which it really is
    newer        stores of a later version, refused before they are touched
    filesystem   what is to be said of the file system under a store
    durable      files that survive a loss of power, and the words for a full disk
    lock         the words for a folder that cannot be written
"""

__all__ = [
    "backup", "column_values", "column_writer", "columns", "commit", "compact", "content_sizes", "creation",
    "durable", "ensembles", "erase", "export", "extents", "filesystem", "forgotten", "generations", "labels", "ledger",
    "ledger_copy", "living", "lock", "manifest", "master", "matrix_writer", "newer", "quarantine", "reader", "readonly",
    "rows", "runs", "verify", "weighting",
]  # fmt: skip

"""The store: one row an image, one matrix a model, in HDF5 that plain h5py opens."""

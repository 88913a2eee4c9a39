"""What a store holds, read with nothing but h5py."""

import sys

import h5py

with h5py.File(sys.argv[1]) as store:
    for model, vectors in store["vectors"].items():
        print(f"/vectors/{model}: {vectors.shape} {vectors.dtype}, {vectors.attrs['precision']}")
        print(f"row 0 is {store['images/path'].asstr(errors='backslashreplace')[0]}: {vectors[0, :4]} …")

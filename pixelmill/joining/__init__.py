"""What people know of pictures, joined to the rows of a store: tables by path, stem or sha256."""

"""Pictures that are to be forgotten: which, and where they are erased: store, index, gallery, hand-over, deliveries."""

"""Weights from elsewhere: downloaded, recorded, bundled."""

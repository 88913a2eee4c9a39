"""Images that lie elsewhere: objects under an address, members of archives."""

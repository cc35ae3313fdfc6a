"""The Azure Blob protocol over an object store.

`server.BlobApp` speaks it, `accounts.BlobAccounts` is the platform's view.
"""

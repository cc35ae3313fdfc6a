"""The Azure Blob protocol over an object store: `server.BlobApp` answers requests."""

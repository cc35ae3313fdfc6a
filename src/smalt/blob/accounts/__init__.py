"""Storage accounts, their keys, containers and signatures; `accounts.BlobAccounts` is the platform's view of blobs."""

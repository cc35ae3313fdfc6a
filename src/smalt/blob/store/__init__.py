"""Where blobs lie: bytes in folders or remotely; properties, leases, snapshots and tags in the database."""

"""A request as the Blob protocol means it: headers, conditions, credentials and what they allow, XML, batches."""

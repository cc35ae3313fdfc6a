"""Files of assets and datastores, as pages show them: through the Blob protocol, by signatures that the API gives."""

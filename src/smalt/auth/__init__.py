"""Who is asking, and may they: certificates, tokens, identities, the login routes, and the one place of authorization."""

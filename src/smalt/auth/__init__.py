"""Who is asking, and may they: certificates, tokens, identities, login routes, and the one place of authorization."""

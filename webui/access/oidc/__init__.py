"""Sign-in with the hospital's accounts: the client side of OpenID Connect Core 1.0, authorization code flow."""

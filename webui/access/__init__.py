"""Who may come in: identity of a request, permissions, sessions."""

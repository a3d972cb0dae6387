"""Access control: the identity of a request, permissions, sessions."""

"""What the soak is made of: servers and their troubles, users and operators, and the census of what came of it."""

"""How fast the route is, against what, and whether its faster number formats give the same ear. A side wing."""

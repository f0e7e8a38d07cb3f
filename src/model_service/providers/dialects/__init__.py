"""The provider protocols, one file each. They do not import one another."""

"""What people write: backing URIs, sizes, names, addresses, settings. Everything here raises ConfigError sentences."""

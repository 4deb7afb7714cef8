"""One module a theme; each function with @scenario is one test."""

"""For tests and plugin authors: scripted backends and servers, a fake clock, contract suites."""

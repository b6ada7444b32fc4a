"""The version of the service: the one place where it is written. CONTRIBUTING.md says what a version promises."""

VERSION = "0.2.0"

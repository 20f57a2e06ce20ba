package certs

// AllowedMode is tested by itself: what it depends on cannot be arranged in a test.
var AllowedMode = allowedMode

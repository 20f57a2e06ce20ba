//go:build race

package node

// raceDetector is whether the race detector is on.
const raceDetector = true

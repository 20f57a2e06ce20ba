package main

import (
	"os"
	"runtime"
	"testing"
	"time"
)

// Processor time that this process burns is seen, and a process that does not exist costs nothing.
func TestProcessorTimeIsCounted(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	meter := newCPUMeter([]int{os.Getpid(), -1})
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if servers, self := meter.read(); servers >= 3*clockTick && self >= 3*clockTick {
			return
		}
	}
	t.Error("ten seconds of work used no processor time")
}

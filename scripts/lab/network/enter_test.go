package network

import (
	"os"
	"testing"
)

func TestEnterRefusesTheNetworkOfTheMachine(t *testing.T) {
	here, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(marker, here)
	if err := Enter(); err == nil {
		t.Error("the marker alone makes Enter believe that it is inside")
	}
}

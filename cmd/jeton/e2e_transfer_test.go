package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The leadership is handed over ten times a second under load, by the operator's own
// command. Requests take longer: none fails, and nothing that was acknowledged is lost.
func TestE2EAStormOfTransfers(t *testing.T) {
	c := startDev(t, cheapHashes)
	client := &e2eClient{nodes: c.nodes}
	load := startLoad(c, 12, client.anywhere)
	load.goesOn(t, 100)
	config := filepath.Join(c.dir, c.nodes[0].Name, "jeton.yml")
	storms, handed := countFrom(t, "JETON_E2E_TRANSFERS", 50), 0
	for range storms {
		next := time.Now().Add(100 * time.Millisecond)
		said, err := operator(config, "operator", "raft", "transfer-leader")
		if err == nil && strings.Contains(string(said), " leads now, after ") {
			handed++
		} else {
			t.Logf("not handed over: %v %s", err, said)
		}
		load.healthy(t)
		time.Sleep(time.Until(next))
	}
	load.goesOn(t, 100)
	load.stop(t)
	load.verify(t)
	t.Logf("%d transfers; the slowest request took %v, %d answers were 503", handed, time.Duration(client.longest.Load()), client.unavailable.Load())
	if handed < storms*3/4 || client.unavailable.Load() > 0 {
		t.Errorf("%d of %d transfers, %d answers were 503", handed, storms, client.unavailable.Load())
	}
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

// A dead member is removed where that is set, and no more than leaves the minimum quorum.
func TestE2EDeadMembersAreCleanedUp(t *testing.T) {
	c := startDev(t, cheapHashes+"autopilot.cleanup_dead_servers: true\nautopilot.min_quorum: 3\n"+
		"autopilot.dead_server_last_contact_threshold: 10s\n", "--nodes", "4")
	config := filepath.Join(c.dir, c.nodes[0].Name, "jeton.yml")
	state := func() (state autopilotState, err error) {
		out, err := operator(config, "operator", "autopilot", "state", "--format", "json")
		return state, errors.Join(err, json.Unmarshal(out, &state))
	}
	c.nodes[3].kill(t)
	until(t, "the dead member is removed", func() error {
		now, err := state()
		if err == nil && (len(now.Servers) != 3 || !now.Healthy || now.FailureTolerance != 1) {
			err = fmt.Errorf("%+v", now)
		}
		return err
	})
	c.nodes[2].kill(t)
	until(t, "the next one is known to be dead", func() error {
		now, err := state()
		if err != nil {
			return err
		}
		for _, server := range now.Servers {
			if server.Dead {
				return nil
			}
		}
		return fmt.Errorf("%+v", now)
	})
	time.Sleep(3 * time.Second)
	if now, err := state(); err != nil || len(now.Servers) != 3 || len(now.Voters) != 3 || now.FailureTolerance != 0 {
		t.Errorf("below the minimum quorum: %+v, %v", now, err)
	}
	_, err := c.nodes[0].token(c.elastic, asPassword("elastic", c.password))
	must(t, err)
}

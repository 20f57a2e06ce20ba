package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The settings of lifetimes are kept to: a refresh token lives for refresh_timeout from
// its own issue, and however often a session is refreshed, at whatever nodes, nothing of
// it outlives session_timeout.
func TestE2ELifetimesOfSessions(t *testing.T) {
	const refresh, session = 2 * time.Second, 4 * time.Second
	c := startDev(t, cheapHashes+
		"xpack.security.authc.token.refresh_timeout: 2s\nxpack.security.authc.token.session_timeout: 4s\n")
	began := time.Now()
	pair, err := c.node(0).token(c.elastic, asPassword("elastic", c.password))
	must(t, err)
	made := []e2ePair{pair}
	until(t, "the session is over", func() error {
		newest := made[len(made)-1]
		answer, err := c.node(len(made)).ask(http.MethodPost, pathToken, c.elastic, asRefresh(newest))
		must(t, err)
		switch {
		case answer.status == http.StatusBadRequest && strings.Contains(answer.body, "token document has expired"):
			return nil
		case answer.status != http.StatusOK:
			t.Fatalf("refresh: %v", answer)
		}
		var next e2ePair
		must(t, json.Unmarshal([]byte(answer.body), &next))
		made = append(made, next)
		return fmt.Errorf("refreshed %d times", len(made)-1)
	})
	if took := time.Since(began); took < session || len(made) < 3 {
		t.Errorf("over after %v and %d refreshes", took, len(made)-1)
	}
	must(t, c.allNodes(func(n *e2eNode) error {
		for _, p := range made {
			if err := n.refuses(bearer(p.Access)); err != nil {
				return err
			}
		}
		return nil
	}))

	answer, err := c.node(0).want(http.StatusOK, http.MethodGet, pathToken+"?owner=true&size=1000", c.elastic, "")
	must(t, err)
	var list struct {
		Tokens []struct {
			Creation          int64 `json:"creation"`
			Expiration        int64 `json:"expiration"`
			RefreshExpiration int64 `json:"refresh_expiration"`
			SessionExpiration int64 `json:"session_expiration"`
		} `json:"tokens"`
	}
	must(t, json.Unmarshal([]byte(answer.body), &list))
	end := list.Tokens[len(list.Tokens)-1].Creation + session.Milliseconds()
	for i, p := range list.Tokens {
		if want := min(p.Creation+refresh.Milliseconds(), end); p.SessionExpiration != end || p.Expiration > end || p.RefreshExpiration != want {
			t.Errorf("pair %d of a session that ends at %d: %+v", i, end, p)
		}
	}
}

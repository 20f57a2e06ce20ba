package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// trap is a situation made so that one shortcut shows, at once or in a few attempts. What is aimed is the fault; what
// judges are the promises, and in the right program a trap finds nothing.
type trap struct {
	name     string
	what     string            // happens in it
	catches  []string          // planted defects
	settings map[string]string // beside the usual ones
	// damages says that a node may end by itself.
	damages bool
	// slow traps take more than half a minute, and are left out of the quick ones.
	slow bool
	// spring makes the situation once and asks. It reports what is wrong to the journal, and as an error that the
	// situation could not be made, which proves nothing.
	spring func(ctx context.Context, s *stage) error
}

// stage is a running cluster with a trap in it.
type stage struct {
	*cluster
	rand    *rand.Rand
	patient *client // that waits longer than any lease lasts
}

// traps are all of them.
func traps() []trap {
	return slices.Concat(readTraps(), leaseTraps(), logTraps(), diskTraps(), voteTraps(), heartbeatTraps())
}

// ask shows an access token to a node. Zero: no answer in time.
func (s *stage) ask(ctx context.Context, n *node, access string) (status int) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	status, err := s.admin.authenticate(ctx, n.url(), access)
	if err != nil {
		return 0
	}
	return status
}

const askPatience = time.Second

// askAll asks nodes at the same time.
func (s *stage) askAll(ctx context.Context, nodes []*node, access string, judge func(n *node, status int)) {
	var asking errgroup.Group
	for _, n := range nodes {
		asking.Go(func() error {
			judge(n, s.ask(ctx, n, access))
			return nil
		})
	}
	_ = asking.Wait() // none fails
}

// mustBeDead asks nodes for a token whose invalidation has been acknowledged. No answer is no wrong answer.
func (s *stage) mustBeDead(ctx context.Context, nodes []*node, access string) {
	s.askAll(ctx, nodes, access, func(n *node, status int) {
		if status == http.StatusOK {
			s.journal.violate("%s accepts a token that was asked about after its invalidation was acknowledged", n.name)
		}
	})
}

// mustLive asks nodes for a token that was issued, acknowledged, and has long to live.
func (s *stage) mustLive(ctx context.Context, nodes []*node, access string) {
	s.askAll(ctx, nodes, access, func(n *node, status int) {
		if status == http.StatusUnauthorized {
			s.journal.violate("%s refuses a token that was issued, was not invalidated and has not expired", n.name)
		}
	})
}

// pester asks a node for a token again and again, without waiting for the answers, for so long.
func (s *stage) pester(ctx context.Context, n *node, access string, length time.Duration, judge func(status int)) {
	const every = 5 * time.Millisecond
	var asking errgroup.Group
	for end := time.Now().Add(length); time.Now().Before(end) && pause(ctx, every); {
		asking.Go(func() error {
			judge(s.ask(ctx, n, access))
			return nil
		})
	}
	_ = asking.Wait() // none fails
}

// staysDead is mustBeDead for a while.
func (s *stage) staysDead(ctx context.Context, n *node, access string, length time.Duration) {
	var accepted atomic.Int64
	s.pester(ctx, n, access, length, func(status int) {
		if status == http.StatusOK {
			accepted.Add(1)
		}
	})
	if times := accepted.Load(); times > 0 {
		s.journal.violate("%s accepts, %d times, a token that was asked about after its invalidation was acknowledged", n.name, times)
	}
}

// warm reads at a node until it holds a read lease, if it can.
func (s *stage) warm(ctx context.Context, n *node, access string) error {
	answered := 0
	return s.await(ctx, "reads at "+n.name, func() bool {
		if s.ask(ctx, n, access) == http.StatusOK {
			answered++
		}
		return answered == warmReads
	})
}

// warmReads, one every lookInterval, last longer than it takes to get a lease.
const warmReads = 50

// await waits for something that the situation needs.
func (s *stage) await(ctx context.Context, what string, is func() bool) error {
	for end := time.Now().Add(stagePatience); time.Now().Before(end); {
		if is() {
			return nil
		}
		if !pause(ctx, lookInterval) {
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
	}
	return fmt.Errorf("%s: not within %v", what, stagePatience)
}

const stagePatience = 20 * time.Second

// theLeader waits until somebody leads who is none of those.
func (s *stage) theLeader(ctx context.Context, but ...*node) (leader *node, err error) {
	err = s.await(ctx, "a leader", func() bool {
		leader = s.leader()
		return leader != nil && !slices.Contains(but, leader)
	})
	return leader, err
}

// login gets a pair of tokens with a refresh token.
func (s *stage) login(ctx context.Context, n *node) (pair, error) {
	return s.grant(ctx, n, map[string]string{"grant_type": "password", "username": username, "password": s.password})
}

// refresh shows a refresh token.
func (s *stage) refresh(ctx context.Context, n *node, token string) (pair, error) {
	return s.grant(ctx, n, map[string]string{"grant_type": "refresh_token", "refresh_token": token})
}

// refusal is an answer of the API that says no.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return fmt.Sprintf("%d %s", r.status, r.text) }

func (s *stage) grant(ctx context.Context, n *node, request map[string]string) (p pair, err error) {
	status, answer, err := s.patient.do(ctx, http.MethodPost, n.url()+pathToken, "", request)
	if err != nil {
		return p, err
	}
	if status != http.StatusOK {
		return p, &refusal{status, string(answer)}
	}
	return p, json.Unmarshal(answer, &p) //nolint:wrapcheck // the caller knows the request
}

package node

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"jeton/fsm"
	"jeton/node/token"
)

// chain is a session that is refreshed at one member as fast as it goes, until that is
// refused for good.
type chain struct {
	at    *incarnation
	pairs []token.Pair
}

func (c *chain) run(t *testing.T, user string) {
	for range 1000 {
		ctx, cancel := context.WithTimeout(t.Context(), recovery)
		next, err := c.at.refresh(ctx, user, c.pairs[len(c.pairs)-1].RefreshToken)
		cancel()
		if refusal, ok := errors.AsType[*fsm.RefusalError](err); ok && refusal.Reason == fsm.TokenInvalidated {
			return
		}
		if err != nil {
			t.Errorf("refresh at %s: %v", c.at.member.name, err)
			return
		}
		c.pairs = append(c.pairs, next)
		time.Sleep(time.Millisecond)
	}
	t.Error("refreshed for ever")
}

// TestNothingOutlivesItsInvalidation is P3 for all that ends together: sessions are
// refreshed at two members while they are ended at a third, and the leader dies. Once
// the end is acknowledged no member takes any token of them, those included that were
// made while it was under way.
func TestNothingOutlivesItsInvalidation(t *testing.T) {
	for name, request := range map[string]func(first token.Pair) token.InvalidateRequest{
		"family": func(first token.Pair) token.InvalidateRequest {
			return token.InvalidateRequest{RefreshToken: first.RefreshToken, Reach: fsm.ReachFamily, OwnOnly: true}
		},
		"owner": func(token.Pair) token.InvalidateRequest { return token.InvalidateRequest{Owner: true} },
		"all":   func(token.Pair) token.InvalidateRequest { return token.InvalidateRequest{All: true} },
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(4) {
				simulate(t, simOptions{seed: simSeed(t, seed)}, func(t *testing.T, s *sim) { endWhileRefreshing(t, s, name == "family", request) })
			}
		})
	}
}

func endWhileRefreshing(t *testing.T, s *sim, oneSession bool, request func(token.Pair) token.InvalidateRequest) {
	s.startAll()
	s.addUser("ann")
	leader, followers := s.leader(), s.followers()
	var chains []*chain
	var logins []token.Pair
	for i := range 6 {
		at := followers[i%2]
		logins = append(logins, s.mustIssue(at, "ann"))
		chains = append(chains, &chain{at: at.running(), pairs: []token.Pair{logins[i]}})
		if oneSession {
			break
		}
	}
	var work sync.WaitGroup
	for _, c := range chains {
		work.Go(func() { c.run(t, "ann") })
	}
	time.Sleep(40 * time.Millisecond)
	work.Go(func() { time.Sleep(time.Millisecond); leader.kill() })
	ctx, cancel := context.WithTimeout(t.Context(), recovery)
	defer cancel()
	at := followers[1]
	if _, err := at.running().invalidate(ctx, "ann", request(logins[0])); err != nil {
		t.Fatalf("invalidate: %v", err)
	}
	for _, m := range followers { // at once: refreshes may still be under way
		for _, login := range logins {
			if err := s.authenticateWithin(m, login.AccessToken, recovery); !errors.Is(err, token.ErrExpired) {
				t.Errorf("acknowledged at %s, asked at %s: %v", at.name, m.name, err)
			}
		}
	}
	work.Wait()
	leader.start()
	s.awaitReady()
	made := 0
	for _, m := range s.members {
		for _, c := range chains {
			made += len(c.pairs)
			for i, p := range c.pairs {
				if err := s.authenticateWithin(m, p.AccessToken, recovery); !errors.Is(err, token.ErrExpired) {
					t.Errorf("pair %d of a session, asked at %s: %v", i, m.name, err)
				}
			}
		}
		if page, err := m.running().tokens.Sessions(t.Context(), token.Caller{}, token.SessionsRequest{Active: true, Size: 10}); err != nil || len(page.Sessions) > 0 {
			t.Errorf("%s lists %d open sessions, %v", m.name, len(page.Sessions), err)
		}
	}
	if made < 2*len(s.members)*len(chains) {
		t.Errorf("%d pairs: nothing was refreshed", made)
	}
	// And a new session is a session.
	fresh := s.mustIssue(at, "ann")
	for _, m := range s.members {
		if err := s.authenticateWithin(m, fresh.AccessToken, recovery); err != nil {
			t.Errorf("a new session, asked at %s: %v", m.name, err)
		}
	}
}

package token_test

import (
	"context"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"jeton/fsm"
	"jeton/node/realm"
	"jeton/node/token"
)

// forgetfulLog applies commands to one state and keeps no entries.
type forgetfulLog struct {
	*fsm.FSM
	now   func() time.Time
	index uint64
}

func (l *forgetfulLog) Propose(_ context.Context, command fsm.Command) (fsm.Outcome, error) {
	l.index++
	encoded := fsm.AppendCommand(nil, command)
	entry := fsm.AppendEntry(nil, fsm.UnixMilli(l.now().UnixMilli()), [][]byte{encoded})
	outcomes := l.Apply(&raft.Log{Index: l.index, Term: 1, Type: raft.LogCommand, Data: entry}).([]fsm.Outcome)
	return outcomes[0], nil
}

type anyPassword struct {
	token.Realms // nil: nobody runs as anybody
	identity     *fsm.Identity
}

func (r anyPassword) Authenticate(context.Context, string, realm.Secret) (realm.Login, error) {
	return realm.Login{Identity: r.identity}, nil
}

// benchService has issued this many pairs, 11 minutes ago, so that the state no
// longer remembers the operations.
func benchService(b *testing.B, pairs int) (*token.Service, token.Caller, []token.Pair) {
	b.Helper()
	clock := newClock()
	log := &forgetfulLog{FSM: fsm.New(nil), now: clock.now}
	s, err := token.New(token.Config{
		Log: log, View: log, Realms: anyPassword{identity: joe}, Now: clock.now,
		Confirm: func(context.Context) error { return nil },
		Enabled: true, ClusterKey: clusterKey,
		AccessLifetime: accessLifetime, RefreshLifetime: refreshLifetime, RefreshWindow: refreshWindow,
	})
	if err != nil {
		b.Fatal(err)
	}
	caller := token.Caller{Identity: joe, Type: token.AuthenticationRealm}
	issued := make([]token.Pair, pairs)
	for i := range issued {
		if issued[i], err = s.Issue(b.Context(), caller, passwordGrant("joe", "secret")); err != nil {
			b.Fatal(err)
		}
		if i == pairs/2 {
			clock.advance(time.Minute)
		}
	}
	clock.advance(11 * time.Minute)
	return s, caller, issued
}

func BenchmarkReadAndDigest(b *testing.B) {
	s := realm.NewSecret("jat_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9zejLG")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := token.AccessDigest(s); !ok {
			b.Fatal("refused")
		}
	}
}

// BenchmarkAuthenticate is the cost of an answer besides the confirmed read, which
// does nothing here, at a million pairs.
func BenchmarkAuthenticate(b *testing.B) {
	s, _, issued := benchService(b, 1_000_000)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		// A stride that meets every token, far from the one before.
		i = (i + 611_953) % len(issued)
		if _, err := s.Authenticate(b.Context(), bearer(issued[i].AccessToken)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAuthenticateGarbage(b *testing.B) {
	s, _, issued := benchService(b, 1)
	garbage := []byte(issued[0].AccessToken.Expose())
	garbage[20] ^= 1
	credentials := bearer(realm.NewSecret(string(garbage)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Authenticate(b.Context(), credentials); err == nil {
			b.Fatal("accepted")
		}
	}
}

func BenchmarkRefresh(b *testing.B) {
	s, caller, issued := benchService(b, 1)
	next := issued[0].RefreshToken
	b.ReportAllocs()
	for b.Loop() {
		pair, err := s.Refresh(b.Context(), caller, token.RefreshRequest{Presented: next})
		if err != nil {
			b.Fatal(err)
		}
		next = pair.RefreshToken
	}
}

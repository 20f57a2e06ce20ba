package token_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"jeton/fsm"
	"jeton/node/realm"
	"jeton/node/token"
)

// reasonOf returns the state machine's "no" in err, or Done.
func reasonOf(err error) fsm.Reason {
	if refusal, ok := errors.AsType[*fsm.RefusalError](err); ok {
		return refusal.Reason
	}
	return fsm.Done
}

func diffPairs(want, got token.Pair) string {
	return cmp.Diff(want, got, cmp.AllowUnexported(realm.Secret{}))
}

// TestGoldenTokens pins the format and the derivation. A pair derived by one
// release is asked for again at a node of the next: these strings never change.
// They were computed from the documentation by another program.
func TestGoldenTokens(t *testing.T) {
	c := newCluster(t, 1, newClock().now, func(config *token.Config) { config.Random = &repeating{} })
	c.putUser("joe", "secret")
	n := c.nodes[0]
	issued := n.mustIssue("joe", "secret")
	refreshed, err := n.Refresh(t.Context(), n.mustLogIn("joe", "secret"), token.RefreshRequest{Presented: issued.RefreshToken})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"jat_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9zejLG",
		"jrt_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj_Q0zD9",
		"jat_OE7FciIsawBf3DNJtMR7fKz1CeMzLSgy-1A1_JhZPvCDnctt",
		"jrt_rVEVmCLsp5EGoyQvsUzOlHcCSRQOB6lc9v0j3wgRJKKltBZs",
	}
	got := []string{
		issued.AccessToken.Expose(), issued.RefreshToken.Expose(),
		refreshed.AccessToken.Expose(), refreshed.RefreshToken.Expose(),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	wantDigest := fsm.Digest{
		0x6c, 0xdb, 0xd1, 0xb2, 0x54, 0xfa, 0x80, 0x74, 0x23, 0x99, 0x09, 0x9b,
		0x02, 0x41, 0xf2, 0x2b, 0x61, 0xee, 0xe8, 0xfd, 0xd7, 0x43, 0x8c, 0x2b,
	}
	if _, found := n.AccessToken(wantDigest); !found {
		t.Error("the digest is not the first 24 bytes of the token's SHA-256")
	}
}

// TestTheSuccessorDependsOnEverySecret: token, salt and cluster key.
func TestTheSuccessorDependsOnEverySecret(t *testing.T) {
	derive := func(skip int, key string) string {
		random := &repeating{}
		c := newCluster(t, 1, newClock().now, func(config *token.Config) {
			config.Random, config.ClusterKey = random, []byte(key)
		})
		c.putUser("joe", "secret")
		n := c.nodes[0]
		issued := n.mustIssue("joe", "secret")
		random.next += byte(skip) // another salt
		refreshed, err := n.Refresh(t.Context(), n.mustLogIn("joe", "secret"), token.RefreshRequest{Presented: issued.RefreshToken})
		if err != nil {
			t.Fatal(err)
		}
		again, err := n.Refresh(t.Context(), n.mustLogIn("joe", "secret"), token.RefreshRequest{Presented: refreshed.RefreshToken})
		if err != nil {
			t.Fatal(err)
		}
		if refreshed.AccessToken.Expose()[4:] == refreshed.RefreshToken.Expose()[4:] {
			t.Error("access and refresh token share a secret")
		}
		if again.AccessToken == refreshed.AccessToken {
			t.Error("two refresh tokens have one successor")
		}
		return refreshed.AccessToken.Expose()
	}
	key := string(clusterKey)
	seen := map[string]string{}
	for name, got := range map[string]string{
		"usual":        derive(0, key),
		"another salt": derive(1, key),
		"another key":  derive(0, strings.ToUpper(key)),
		"longer key":   derive(0, key+"\x00"),
	} {
		if other, taken := seen[got]; taken {
			t.Errorf("%s and %s derive the same", name, other)
		}
		seen[got] = name
	}
}

func TestRefreshYieldsASuccessorForTheSameUser(t *testing.T) {
	c := newCluster(t, 3, newClock().now, nil)
	c.putUser("joe", "secret")
	first := c.nodes[0].mustIssue("joe", "secret")
	n := c.nodes[1] // has seen neither the user nor the pair
	second, err := n.Refresh(t.Context(), n.mustLogIn("joe", "secret"), token.RefreshRequest{Presented: first.RefreshToken})
	if err != nil {
		t.Fatal(err)
	}
	want := token.Pair{
		AccessToken: second.AccessToken, RefreshToken: second.RefreshToken,
		ExpiresIn: accessLifetime, Identity: joe, Type: token.AuthenticationToken,
	}
	if diff := diffPairs(want, second); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if !isToken("jat_", second.AccessToken.Expose()) || !isToken("jrt_", second.RefreshToken.Expose()) {
		t.Errorf("not tokens: %q, %q", second.AccessToken.Expose(), second.RefreshToken.Expose())
	}
	// The successor is valid everywhere; the access token before it lives on.
	for i, n := range c.nodes {
		for _, s := range []realm.Secret{first.AccessToken, second.AccessToken} {
			if _, err := n.Authenticate(t.Context(), bearer(s)); err != nil {
				t.Errorf("node %d: %v", i, err)
			}
		}
	}
}

// TestAClientRefreshesForItsUser: the pair belongs to the client that obtained it,
// and speaks for another.
func TestAClientRefreshesForItsUser(t *testing.T) {
	c := newCluster(t, 1, newClock().now, nil)
	c.putUser("portal", "portal")
	c.putUser("joe", "secret")
	n := c.nodes[0]
	portal := n.mustLogIn("portal", "portal")
	issued, err := n.Issue(t.Context(), portal, passwordGrant("joe", "secret"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Refresh(t.Context(), n.mustLogIn("joe", "secret"), token.RefreshRequest{Presented: issued.RefreshToken}); reasonOf(err) != fsm.NotCreatingClient {
		t.Errorf("by the user: %v", err)
	}
	refreshed, err := n.Refresh(t.Context(), portal, token.RefreshRequest{Presented: issued.RefreshToken})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(joe, refreshed.Identity); diff != "" {
		t.Errorf("answer: -want +got\n%s", diff)
	}
	caller, err := n.Authenticate(t.Context(), bearer(refreshed.AccessToken))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(joe, caller.Identity); diff != "" {
		t.Errorf("state: -want +got\n%s", diff)
	}
}

func TestASessionEndsHoweverOftenItIsRefreshed(t *testing.T) {
	clock := newClock()
	c := newCluster(t, 1, clock.now, func(config *token.Config) { config.SessionLifetime = 30 * time.Hour })
	c.putUser("joe", "secret")
	n := c.nodes[0]
	caller := n.mustLogIn("joe", "secret")
	pair := n.mustIssue("joe", "secret")
	for range 3 { // at 10, 20 and 30 hours
		clock.advance(10 * time.Hour)
		var err error
		if pair, err = n.Refresh(t.Context(), caller, token.RefreshRequest{Presented: pair.RefreshToken}); err != nil {
			t.Fatal(err)
		}
	}
	clock.advance(time.Millisecond)
	if _, err := n.Refresh(t.Context(), caller, token.RefreshRequest{Presented: pair.RefreshToken}); reasonOf(err) != fsm.RefreshExpired {
		t.Errorf("got %v", err)
	}
}

func TestARepeatedRefreshIsByteIdenticalOnEveryNode(t *testing.T) {
	clock := newClock()
	c := newCluster(t, 3, clock.now, nil)
	c.putUser("joe", "secret")
	issued := c.nodes[0].mustIssue("joe", "secret")
	want, err := c.nodes[0].Refresh(t.Context(), c.nodes[0].mustLogIn("joe", "secret"), token.RefreshRequest{Presented: issued.RefreshToken})
	if err != nil {
		t.Fatal(err)
	}
	clock.advance(refreshWindow) // its very last millisecond
	for i, n := range c.nodes {
		got, err := n.Refresh(t.Context(), n.mustLogIn("joe", "secret"), token.RefreshRequest{Presented: issued.RefreshToken})
		if err != nil {
			t.Fatalf("node %d: %v", i, err)
		}
		if diff := diffPairs(want, got); diff != "" {
			t.Errorf("node %d: -want +got\n%s", i, diff)
		}
	}
}

// TestALostAnswerIsRepeated is P5: the outcome was unknown, the client asks elsewhere.
func TestALostAnswerIsRepeated(t *testing.T) {
	c := newCluster(t, 2, newClock().now, nil)
	c.putUser("joe", "secret")
	issued := c.nodes[0].mustIssue("joe", "secret")
	n, other := c.nodes[0], c.nodes[1]
	n.proposeFault = func(apply func() (fsm.Outcome, error)) (fsm.Outcome, error) {
		if _, err := apply(); err != nil {
			t.Error(err)
		}
		return fsm.Outcome{}, realm.ErrUnavailable
	}
	caller := n.mustLogIn("joe", "secret")
	if _, err := n.Refresh(t.Context(), caller, token.RefreshRequest{Presented: issued.RefreshToken}); !errors.Is(err, token.ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
	n.proposeFault = nil
	first, err := other.Refresh(t.Context(), other.mustLogIn("joe", "secret"), token.RefreshRequest{Presented: issued.RefreshToken})
	if err != nil {
		t.Fatal(err)
	}
	second, err := n.Refresh(t.Context(), caller, token.RefreshRequest{Presented: issued.RefreshToken})
	if err != nil {
		t.Fatal(err)
	}
	if diff := diffPairs(first, second); diff != "" {
		t.Errorf("-first +second\n%s", diff)
	}
	if _, err := n.Authenticate(t.Context(), bearer(first.AccessToken)); err != nil {
		t.Error(err)
	}
}

// TestManyRefreshesAtOnceYieldOnePair is P2.
func TestManyRefreshesAtOnceYieldOnePair(t *testing.T) {
	c := newCluster(t, 3, newClock().now, nil)
	c.putUser("joe", "secret")
	issued := c.nodes[0].mustIssue("joe", "secret")
	var wg sync.WaitGroup
	answers := make(chan token.Pair, 64)
	for i := range cap(answers) {
		wg.Go(func() {
			n := c.nodes[i%len(c.nodes)]
			caller, err := n.AuthenticateForWrite(t.Context(), basic("joe", "secret"))
			if err != nil {
				t.Error(err)
				return
			}
			pair, err := n.Refresh(t.Context(), caller, token.RefreshRequest{Presented: issued.RefreshToken})
			if err != nil {
				t.Error(err)
				return
			}
			answers <- pair
		})
	}
	wg.Wait()
	close(answers)
	distinct := map[[2]string]bool{}
	for pair := range answers {
		distinct[[2]string{pair.AccessToken.Expose(), pair.RefreshToken.Expose()}] = true
	}
	if len(distinct) != 1 {
		t.Errorf("%d distinct pairs", len(distinct))
	}
}

func TestRefusedRefreshes(t *testing.T) {
	type story struct {
		t       *testing.T
		clock   *clock
		cluster *testCluster
		n       *testNode
		joe     token.Caller
		pair    token.Pair
	}
	cases := map[string]struct {
		act  func(*story) error
		want fsm.Reason
	}{
		"malformed": {func(s *story) error {
			_, err := s.n.Refresh(s.t.Context(), s.joe, token.RefreshRequest{Presented: realm.NewSecret("46ToAxYzNUdPZWdYOFRQcWhjeHR3NWpvTmVB")})
			return err
		}, fsm.UnknownToken},
		"an access token": {func(s *story) error {
			_, err := s.n.Refresh(s.t.Context(), s.joe, token.RefreshRequest{Presented: s.pair.AccessToken})
			return err
		}, fsm.UnknownToken},
		"another cluster's": {func(s *story) error {
			other := newCluster(t, 1, s.clock.now, nil)
			other.putUser("joe", "secret")
			_, err := s.n.Refresh(s.t.Context(), s.joe, token.RefreshRequest{Presented: other.nodes[0].mustIssue("joe", "secret").RefreshToken})
			return err
		}, fsm.UnknownToken},
		"another client": {func(s *story) error {
			s.cluster.putUser("eve", "eve")
			_, err := s.n.Refresh(s.t.Context(), s.n.mustLogIn("eve", "eve"), token.RefreshRequest{Presented: s.pair.RefreshToken})
			if _, own := s.n.Refresh(s.t.Context(), s.joe, token.RefreshRequest{Presented: s.pair.RefreshToken}); own != nil {
				s.t.Errorf("the attempt consumed it: %v", own)
			}
			return err
		}, fsm.NotCreatingClient},
		"invalidated": {func(s *story) error {
			_, err := s.n.Invalidate(s.t.Context(), s.joe, token.InvalidateRequest{RefreshToken: s.pair.RefreshToken})
			if err != nil {
				s.t.Fatal(err)
			}
			_, err = s.n.Refresh(s.t.Context(), s.joe, token.RefreshRequest{Presented: s.pair.RefreshToken})
			return err
		}, fsm.TokenInvalidated},
		"expired": {func(s *story) error {
			s.clock.advance(refreshLifetime + time.Millisecond)
			_, err := s.n.Refresh(s.t.Context(), s.joe, token.RefreshRequest{Presented: s.pair.RefreshToken})
			return err
		}, fsm.RefreshExpired},
		"reused after the window": {func(s *story) error {
			successor, err := s.n.Refresh(s.t.Context(), s.joe, token.RefreshRequest{Presented: s.pair.RefreshToken})
			if err != nil {
				s.t.Fatal(err)
			}
			s.clock.advance(refreshWindow + time.Millisecond)
			_, err = s.n.Refresh(s.t.Context(), s.joe, token.RefreshRequest{Presented: s.pair.RefreshToken})
			if _, dead := s.n.Authenticate(s.t.Context(), bearer(successor.AccessToken)); !errors.Is(dead, token.ErrExpired) {
				s.t.Errorf("the family lives on: %v", dead)
			}
			return err
		}, fsm.Reused},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := &story{t: t, clock: newClock()}
			s.cluster = newCluster(t, 1, s.clock.now, nil)
			s.cluster.putUser("joe", "secret")
			s.n = s.cluster.nodes[0]
			s.pair, s.joe = s.n.mustIssue("joe", "secret"), s.n.mustLogIn("joe", "secret")
			if err := tc.act(s); reasonOf(err) != tc.want {
				t.Errorf("got %v, want reason %d", err, tc.want)
			}
		})
	}
}

func TestReuseMayLeaveTheFamilyAlive(t *testing.T) {
	clock := newClock()
	c := newCluster(t, 1, clock.now, func(config *token.Config) { config.KeepFamilyOnReuse = true })
	c.putUser("joe", "secret")
	n := c.nodes[0]
	pair, caller := n.mustIssue("joe", "secret"), n.mustLogIn("joe", "secret")
	successor, err := n.Refresh(t.Context(), caller, token.RefreshRequest{Presented: pair.RefreshToken})
	if err != nil {
		t.Fatal(err)
	}
	clock.advance(refreshWindow + time.Millisecond)
	if _, err := n.Refresh(t.Context(), caller, token.RefreshRequest{Presented: pair.RefreshToken}); reasonOf(err) != fsm.Reused {
		t.Errorf("got %v", err)
	}
	if _, err := n.Authenticate(t.Context(), bearer(successor.AccessToken)); err != nil {
		t.Error(err)
	}
}

func TestAnOutageIsNotAnInvalidGrant(t *testing.T) {
	c := newCluster(t, 2, newClock().now, nil)
	c.putUser("joe", "secret")
	late := c.nodes[1]
	caller := late.mustLogIn("joe", "secret")
	pair := c.nodes[0].mustIssue("joe", "secret")
	late.confirmFault = realm.ErrUnavailable
	_, err := late.Refresh(t.Context(), caller, token.RefreshRequest{Presented: pair.RefreshToken})
	if !errors.Is(err, token.ErrUnavailable) || reasonOf(err) != fsm.Done {
		t.Errorf("token not seen yet: %v", err)
	}
	// A repetition needs the successor to be seen, so that too is "cannot know".
	late.confirmFault = nil
	late.catchUp()
	if _, err := c.nodes[0].Refresh(t.Context(), caller, token.RefreshRequest{Presented: pair.RefreshToken}); err != nil {
		t.Fatal(err)
	}
	late.confirmFault = realm.ErrUnavailable
	_, err = late.Refresh(t.Context(), caller, token.RefreshRequest{Presented: pair.RefreshToken})
	if !errors.Is(err, token.ErrUnavailable) || reasonOf(err) != fsm.Done {
		t.Errorf("successor not seen yet: %v", err)
	}
}

// TestAnotherClusterKeyIsFoundOut: a node with the wrong key must not hand out a
// pair that nobody knows.
func TestAnotherClusterKeyIsFoundOut(t *testing.T) {
	c := newCluster(t, 1, newClock().now, nil)
	c.putUser("joe", "secret")
	n := c.nodes[0]
	wrong := c.add(func(config *token.Config) { config.ClusterKey = []byte(strings.ToUpper(string(clusterKey))) })
	pair := n.mustIssue("joe", "secret")
	if _, err := n.Refresh(t.Context(), n.mustLogIn("joe", "secret"), token.RefreshRequest{Presented: pair.RefreshToken}); err != nil {
		t.Fatal(err)
	}
	got, err := wrong.Refresh(t.Context(), wrong.mustLogIn("joe", "secret"), token.RefreshRequest{Presented: pair.RefreshToken})
	if err == nil || !strings.Contains(err.Error(), "cluster key") {
		t.Errorf("got %v", err)
	}
	if diff := diffPairs(token.Pair{}, got); diff != "" {
		t.Errorf("handed out: %s", diff)
	}
	if reasonOf(err) != fsm.Done || errors.Is(err, token.ErrUnavailable) {
		t.Errorf("an operator's mistake looks like the client's: %v", err)
	}
}

// A backup was restored between the refresh, repeated within its window, and the look at
// its successor. The node said that its cluster key was wrong.
func TestARepeatedRefreshThatMeetsARestoreFindsNoToken(t *testing.T) {
	c := newCluster(t, 1, newClock().now, nil)
	c.putUser("joe", "secret")
	n := c.nodes[0]
	pair := n.mustIssue("joe", "secret")
	caller := n.mustLogIn("joe", "secret")
	if _, err := n.Refresh(t.Context(), caller, token.RefreshRequest{Presented: pair.RefreshToken}); err != nil {
		t.Fatal(err)
	}
	n.proposeFault = func(apply func() (fsm.Outcome, error)) (fsm.Outcome, error) {
		outcome, err := apply()
		n.BeginEpoch([16]byte{1}, false)
		return outcome, err
	}
	_, err := n.Refresh(t.Context(), caller, token.RefreshRequest{Presented: pair.RefreshToken})
	if reasonOf(err) != fsm.UnknownToken {
		t.Errorf("got %v", err)
	}
}

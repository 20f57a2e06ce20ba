package token_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"jeton/fsm"
	"jeton/node/token"
)

// TestNothingOutlastsItsSession: whatever is made of a login, by refreshing and by
// having tokens make tokens, at whatever node and in whatever order, ends with it. And
// as long as the session lasts it can be refreshed.
func TestNothingOutlastsItsSession(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const step = 7 * time.Minute
		session := time.Duration(rapid.IntRange(1, 40).Draw(rt, "session")) * step
		clock := newClock()
		c := newCluster(t, 2, clock.now, func(config *token.Config) { config.SessionLifetime = session })
		c.putUser("joe", "joe")
		end := fsm.UnixMilli(clock.now().Add(session).UnixMilli())
		n := c.nodes[0]
		newest := n.mustIssue("joe", "joe")
		access := []token.Pair{newest}
		check := func(name string, p token.Pair) {
			n.catchUp()
			made, found := n.AccessToken(digestOf(p))
			left := time.UnixMilli(int64(end)).Sub(clock.now())
			if !found || made.SessionEndsAt != end || made.AccessExpiresAt > end || made.RefreshExpiresAt > end {
				rt.Fatalf("%s outlasts its session: ends %d, %+v", name, end, made)
			}
			if p.ExpiresIn > max(left, time.Millisecond) || p.ExpiresIn > accessLifetime {
				rt.Fatalf("%s: expires in %v, with %v left", name, p.ExpiresIn, left)
			}
		}
		check("login", newest)
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			clock.advance(time.Duration(rapid.IntRange(0, 2).Draw(rt, "wait")) * step)
			over := fsm.UnixMilli(clock.Load()) > end
			n = rapid.SampledFrom(c.nodes).Draw(rt, "node")
			if rapid.Bool().Draw(rt, "refresh") {
				next, err := n.Refresh(t.Context(), n.mustLogIn("joe", "joe"), token.RefreshRequest{Presented: newest.RefreshToken})
				if over != (err != nil) {
					rt.Fatalf("refresh, session over: %v: %v", over, err)
				}
				if err == nil {
					newest, access = next, append(access, next)
					check("successor", next)
				}
				continue
			}
			caller, err := n.AuthenticateForWrite(t.Context(), bearer(rapid.SampledFrom(access).Draw(rt, "token").AccessToken))
			if err != nil {
				continue
			}
			made, err := n.Issue(t.Context(), caller, token.IssueRequest{GrantType: token.GrantClientCredentials})
			if over || err != nil {
				rt.Fatalf("a token of a token, session over: %v: %v", over, err)
			}
			access = append(access, made)
			check("token of a token", made)
		}
	})
}

// TestATokenOfALoginHasASession: the client credentials of a login are one, too.
func TestATokenOfALoginHasASession(t *testing.T) {
	c := newCluster(t, 1, newClock().now, func(config *token.Config) { config.SessionLifetime = time.Minute })
	c.putUser("joe", "joe")
	n := c.nodes[0]
	pair, err := n.Issue(t.Context(), n.mustLogIn("joe", "joe"), token.IssueRequest{GrantType: token.GrantClientCredentials})
	if err != nil || pair.ExpiresIn != time.Minute {
		t.Fatalf("expires in %v, %v", pair.ExpiresIn, err)
	}
	if made, _ := n.AccessToken(digestOf(pair)); made.AccessExpiresAt-made.CreatedAt != 60_000 {
		t.Errorf("%+v", made)
	}
}

func digestOf(p token.Pair) fsm.Digest {
	digest, _ := token.AccessDigest(p.AccessToken)
	return digest
}

// TestATokenOfATokenIsToldItsLifetime: what is left of the one that it is made from.
func TestATokenOfATokenIsToldItsLifetime(t *testing.T) {
	clock := newClock()
	c := newCluster(t, 1, clock.now, nil)
	c.putUser("joe", "joe")
	n := c.nodes[0]
	first, err := n.Issue(t.Context(), n.mustLogIn("joe", "joe"), token.IssueRequest{GrantType: token.GrantClientCredentials})
	if err != nil {
		t.Fatal(err)
	}
	clock.advance(time.Minute)
	caller, err := n.Authenticate(t.Context(), token.Credentials{Scheme: token.SchemeBearer, Bearer: first.AccessToken})
	if err != nil {
		t.Fatal(err)
	}
	made, err := n.Issue(t.Context(), caller, token.IssueRequest{GrantType: token.GrantClientCredentials})
	if err != nil || made.ExpiresIn != first.ExpiresIn-time.Minute {
		t.Errorf("expires in %v, %v; the first in %v", made.ExpiresIn, err, first.ExpiresIn)
	}
	if _, err := n.Invalidate(t.Context(), caller, token.InvalidateRequest{Token: first.AccessToken}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Authenticate(t.Context(), token.Credentials{Scheme: token.SchemeBearer, Bearer: made.AccessToken}); !errors.Is(err, token.ErrExpired) {
		t.Errorf("got %v", err)
	}
}

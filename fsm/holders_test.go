package fsm

import (
	"hash/maphash"
	"testing"
)

// TestHoldersAreWhole: identities and clients that differ in anything are kept
// apart, equal ones are kept once, and what they take is counted.
func TestHoldersAreWhole(t *testing.T) {
	t.Parallel()
	name := "Ada"
	whole := func() (Identity, Client) {
		return Identity{
			Principal: ada, Roles: []RoleName{"a"}, FullName: &name, Email: &name, Metadata: []byte(`{"a":1}`),
			Scope: []string{"manage_token", "monitor"},
			RunBy: &Actor{Principal: stranger.Principal, Roles: []RoleName{"proxy"}, Generation: 7},
		}, Client{Principal: ada, RunBy: stranger.Principal}
	}
	changes := map[string]func(*Identity, *Client){
		"nothing":             func(*Identity, *Client) {},
		"user":                func(i *Identity, _ *Client) { i.Username = "bob" },
		"realm":               func(i *Identity, _ *Client) { i.Realm.Name = "other" },
		"roles":               func(i *Identity, _ *Client) { i.Roles = []RoleName{"b"} },
		"full name":           func(i *Identity, _ *Client) { i.FullName = nil },
		"email":               func(i *Identity, _ *Client) { i.Email = nil },
		"metadata":            func(i *Identity, _ *Client) { i.Metadata = nil },
		"scope":               func(i *Identity, _ *Client) { i.Scope = []string{"monitor"} },
		"no scope":            func(i *Identity, _ *Client) { i.Scope = nil },
		"actor":               func(i *Identity, _ *Client) { i.RunBy.Username = "bob" },
		"actor's realm":       func(i *Identity, _ *Client) { i.RunBy.Realm.Type = "file" },
		"actor's roles":       func(i *Identity, _ *Client) { i.RunBy.Roles = []RoleName{} },
		"actor's generation":  func(i *Identity, _ *Client) { i.RunBy.Generation = 8 },
		"no actor":            func(i *Identity, _ *Client) { i.RunBy = nil },
		"client":              func(_ *Identity, c *Client) { c.Username = "bob" },
		"who runs the client": func(_ *Identity, c *Client) { c.RunBy.Username = "bob" },
		"client itself":       func(_ *Identity, c *Client) { c.RunBy = Principal{} },
	}
	h := newHolders(maphash.MakeSeed())
	var refs []ref
	for what, change := range changes {
		identity, client := whole()
		change(&identity, &client)
		r := h.intern(&identity, client)
		again, same := whole()
		change(&again, &same)
		if h.intern(&again, same) != r {
			t.Errorf("%s: kept twice", what)
		}
		refs = append(refs, r, r)
	}
	if h.held.used != len(changes) {
		t.Errorf("%d holders of %d that differ", h.held.used, len(changes))
	}
	for _, r := range refs {
		h.release(r)
	}
	if h.held.used != 0 || h.bytes != 0 {
		t.Errorf("%d holders and %d bytes are left", h.held.used, h.bytes)
	}
}

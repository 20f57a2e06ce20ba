package fsm

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// update rewrites golden files. A file that a release has written never changes
// again: a new format is a new file.
var update = flag.Bool("update", false, "write missing golden files")

// fill returns n bytes that count up from first, so that a shifted or swapped field
// shows in the golden bytes.
func fill[T ~[16]byte | ~[24]byte | ~[32]byte](first byte) (v T) {
	b := reflect.ValueOf(&v).Elem()
	for i := range b.Len() {
		b.Index(i).SetUint(uint64(first) + uint64(i))
	}
	return v
}

func goldenHeader() Header {
	return Header{
		Operation: fill[OperationID](0x10),
		Guard: Guard{
			Caller:           Principal{Username: "caller", Realm: Realm{Name: "default_native", Type: "native"}},
			CallerGeneration: 301,
			RunBy:            Principal{Username: "actor", Realm: Realm{Name: "default_file", Type: "file"}},
			RunByGeneration:  304,
			Bearer:           fill[Digest](0x30),
			RolesVersion:     302,
		},
	}
}

// goldens are commands that together set every field of their kind, by file name.
func goldens() map[string]Command {
	h := goldenHeader()
	fullName, email := "Ada Lovelace", "ada@example.org"
	client := Client{
		Principal: Principal{Username: "kibana", Realm: Realm{Name: "reserved", Type: "reserved"}},
		RunBy:     Principal{Username: "proxy", Realm: Realm{Name: "default_file", Type: "file"}},
	}
	return map[string]Command{
		"initialize": Initialize{h, fill[[16]byte](0x50), fill[[32]byte](0x70)},
		"issue": Issue{
			Header: h, Access: fill[Digest](0x90), Refresh: fill[Digest](0xa0),
			Identity: Identity{
				Principal: Principal{Username: "ada", Realm: Realm{Name: "l1", Type: "ldap"}},
				Roles:     []RoleName{"superuser", "own"}, FullName: &fullName, Email: &email, Metadata: []byte(`{"a":1}`),
				Scope: []string{"manage_token", "monitor"},
				RunBy: &Actor{Principal: Principal{Username: "bob", Realm: Realm{Name: "l2", Type: "ldap"}}, Roles: []RoleName{"proxy"}, Generation: 305},
			},
			IdentityGeneration: 303, Client: client,
			AccessLifetime: 1_200_000, RefreshLifetime: 86_400_000, SessionLifetime: MaxRefreshLifetime, WithinSession: true,
		},
		"refresh": Refresh{
			Header: h, Presented: fill[Digest](0x90), Client: client, Salt: fill[Salt](0xb0),
			Access: fill[Digest](0xc0), Refresh: fill[Digest](0xd0), AccessLifetime: MaxAccessLifetime,
			RefreshLifetime: 86_400_000, Window: 30_000, KeepFamily: true,
			Scope: []string{"monitor"},
		},
		"invalidate":         Invalidate{Header: h, Realm: "default_file", Username: "ada", CreatedBefore: start},
		"invalidate-access":  Invalidate{Header: h, Access: fill[Digest](0x90)},
		"invalidate-refresh": Invalidate{Header: h, Refresh: fill[Digest](0xa0), Reach: ReachFamily},
		"invalidate-pairs": Invalidate{
			Header: h, Pairs: []Digest{fill[Digest](0x90), fill[Digest](0xa0)}, Reach: ReachPair,
			OwnedBy: Principal{Username: "ada", Realm: Realm{Name: "l1", Type: "ldap"}},
		},
		"invalidate-all": Invalidate{Header: h, All: true, CreatedBefore: MaxMoment},
		"put_user": PutUser{
			Header: h, Username: "ada", Verifier: "$2a$10$x", Roles: []RoleName{"superuser"},
			FullName: &fullName, Email: &email, Metadata: []byte(`{"a":1}`), Enabled: true,
		},
		"delete_user":     DeleteUser{h, "ada"},
		"set_password":    SetPassword{h, RealmReserved, "elastic", "$2a$10$x", true},
		"set_enabled":     SetEnabled{h, RealmNative, "ada", true},
		"put_role":        PutRole{h, Role{"own", []string{"manage_token", "monitor"}, []string{"bob"}, []byte(`{"indices":[]}`)}},
		"delete_role":     DeleteRole{h, "own"},
		"collect_expired": CollectExpired{h, 1000},
		"lease":           Lease{h, "server-1", 7, 9, 1000},
		"restore_chunk":   RestoreChunk{h, fill[[16]byte](0x50), 301, []byte("part of a snapshot")},
		"raise_level":     RaiseLevel{h, 303},
		"restore":         Restore{h, fill[[16]byte](0x50), fill[[32]byte](0x70), fill[[16]byte](0x60), 302, true},
	}
}

// golden returns the bytes of a golden file.
func golden(t *testing.T, path string, now []byte) []byte {
	t.Helper()
	path = filepath.Join("testdata", path)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, now, 0o644); err != nil {
			t.Fatal(err)
		}
		return now
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestCommandGolden proves that what any release wrote to the log is still read as
// what it meant.
func TestCommandGolden(t *testing.T) {
	t.Parallel()
	for name, c := range goldens() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := golden(t, fmt.Sprintf("commands/%s.v%d", name, commandFormat), AppendCommand(nil, c))
			got, err := DecodeCommand(b)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c, got); d != "" {
				t.Errorf("decoded (-want +got):\n%s", d)
			}
			if d := cmp.Diff(b, AppendCommand(nil, got)); d != "" {
				t.Errorf("encoded again (-want +got):\n%s", d)
			}
		})
	}
}

// TestGoldenSetsEveryField keeps the golden files honest: a field that none of them
// sets could be dropped from the encoding unnoticed.
func TestGoldenSetsEveryField(t *testing.T) {
	t.Parallel()
	set := map[string]bool{}
	kinds := map[Kind]bool{}
	for name, c := range goldens() {
		kinds[c.Kind()] = true
		if want, _, _ := strings.Cut(name, "-"); c.Kind().String() != want {
			t.Errorf("golden %q holds %v", name, c.Kind())
		}
		note(reflect.ValueOf(c), reflect.TypeOf(c).Name(), set)
	}
	for field, ok := range set {
		if !ok {
			t.Errorf("no golden sets %s", field)
		}
	}
	for kind := range Kind(255) {
		if known := newCommand(kind) != nil; known != kinds[kind] || known && newCommand(kind).Kind() != kind {
			t.Errorf("kind %v: known %v, golden %v", kind, known, kinds[kind])
		}
	}
}

// note records which fields below v are set.
func note(v reflect.Value, path string, set map[string]bool) {
	switch {
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			note(v.Field(i), path+"."+v.Type().Field(i).Name, set)
		}
	case v.Kind() == reflect.Pointer && !v.IsNil():
		note(v.Elem(), path, set)
	default:
		set[path] = set[path] || !v.IsZero()
	}
}

func TestDecodeCommandIsStrict(t *testing.T) {
	t.Parallel()
	valid := AppendCommand(nil, DeleteUser{goldenHeader(), "ada"})
	edit := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(valid)) }
	long := strings.Repeat("x", MaxNameBytes+1)
	h := goldenHeader()
	cases := map[string][]byte{
		"empty":               {},
		"kind alone":          {byte(KindIssue)},
		"unknown kind":        edit(func(b []byte) []byte { b[0] = 200; return b }),
		"retired kind zero":   edit(func(b []byte) []byte { b[0] = 0; return b }),
		"unknown format":      edit(func(b []byte) []byte { b[1]++; return b }),
		"trailing byte":       append(bytes.Clone(valid), 0),
		"truncated":           valid[:len(valid)-1],
		"too long":            make([]byte, MaxCommandBytes+1),
		"number not minimal":  edit(func(b []byte) []byte { return append(b[:len(b)-4], 0x83, 0x00, 'a', 'd', 'a') }),
		"number overflows":    edit(func(b []byte) []byte { return append(b[:len(b)-4], bytes.Repeat([]byte{0xff}, 11)...) }),
		"length past the end": edit(func(b []byte) []byte { b[len(b)-4] = 4; return b }),
		"flag of 2": edit(func(b []byte) []byte {
			return append(AppendCommand(nil, SetEnabled{h, RealmNative, "a", true})[:len(AppendCommand(nil, SetEnabled{h, RealmNative, "a", true}))-1], 2)
		}),
		"no operation":           AppendCommand(nil, DeleteUser{Header{}, "ada"}),
		"present digest of zero": bytes.Replace(valid, h.Guard.Bearer[:], make([]byte, 24), 1),
		"name over the limit":    AppendCommand(nil, DeleteUser{h, Username(long)}),
		"no username":            AppendCommand(nil, DeleteUser{h, ""}),
		"user without name":      AppendCommand(nil, PutUser{Header: h, Verifier: "v"}),
		"no role name":           AppendCommand(nil, DeleteRole{h, ""}),
		"role without name":      AppendCommand(nil, PutRole{Header: h}),
		"no verifier":            AppendCommand(nil, SetPassword{h, RealmNative, "ada", "", false}),
		"password of no user":    AppendCommand(nil, SetPassword{h, RealmNative, "", "v", false}),
		"file user enabled":      AppendCommand(nil, SetEnabled{h, "default_file", "ada", true}),
		"no cluster id":          AppendCommand(nil, Initialize{Header: h}),
		"issue without access":   AppendCommand(nil, Issue{Header: h}),
		"lifetime of no refresh": AppendCommand(nil, Issue{Header: h, Access: Digest{1}, RefreshLifetime: 1}),
		"in nobody's session":    AppendCommand(nil, Issue{Access: Digest{1}, Header: Header{Operation: h.Operation}, WithinSession: true}),
		"negative lifetime":      AppendCommand(nil, Issue{Header: h, Access: Digest{1}, AccessLifetime: -1}),
		"access lifetime":        AppendCommand(nil, Issue{Header: h, Access: Digest{1}, AccessLifetime: MaxAccessLifetime + 1}),
		"session lifetime":       AppendCommand(nil, Issue{Header: h, Access: Digest{1}, SessionLifetime: MaxRefreshLifetime + 1}),
		"refresh without salt":   AppendCommand(nil, Refresh{Header: h, Presented: Digest{1}, Access: Digest{2}, Refresh: Digest{3}}),
		"refresh of nothing":     AppendCommand(nil, Refresh{Header: h, Salt: Salt{1}, Access: Digest{2}, Refresh: Digest{3}}),
		"window":                 AppendCommand(nil, Refresh{Header: h, Salt: Salt{1}, Presented: Digest{1}, Access: Digest{2}, Refresh: Digest{3}, Window: MaxRefreshWindow + 1}),
		"invalidate nothing":     AppendCommand(nil, Invalidate{Header: h}),
		"invalidate two tokens":  AppendCommand(nil, Invalidate{Header: h, Access: Digest{1}, Refresh: Digest{1}}),
		"invalidate too much":    AppendCommand(nil, Invalidate{Header: h, Access: Digest{1}, Username: "ada"}),
		"all, of a realm":        AppendCommand(nil, Invalidate{Header: h, All: true, Realm: "l1"}),
		"a user's, and pairs":    AppendCommand(nil, Invalidate{Header: h, Pairs: []Digest{{1}}, Reach: ReachPair, Username: "ada"}),
		"pairs in part":          AppendCommand(nil, Invalidate{Header: h, Pairs: []Digest{{1}}}),
		"pairs out of order":     AppendCommand(nil, Invalidate{Header: h, Pairs: []Digest{{2}, {1}}, Reach: ReachPair}),
		"a pair twice":           AppendCommand(nil, Invalidate{Header: h, Pairs: []Digest{{1}, {1}}, Reach: ReachPair}),
		"a pair without digest":  AppendCommand(nil, Invalidate{Header: h, Pairs: []Digest{{}, {1}}, Reach: ReachPair}),
		"too many pairs":         AppendCommand(nil, Invalidate{Header: h, Pairs: make([]Digest, MaxNamed+1), Reach: ReachPair}),
		"unknown reach":          AppendCommand(nil, Invalidate{Header: h, Access: Digest{1}, Reach: ReachFamily + 1}),
		"families of a user":     AppendCommand(nil, Invalidate{Header: h, Username: "ada", Reach: ReachFamily}),
		"owned by two":           AppendCommand(nil, Invalidate{Header: h, Username: "ada", OwnedBy: ada}),
		"token of a certain age": AppendCommand(nil, Invalidate{Header: h, Access: Digest{1}, CreatedBefore: 1}),
		"before the beginning":   AppendCommand(nil, Invalidate{Header: h, All: true, CreatedBefore: -1}),
		"scope of nothing":       AppendCommand(nil, Issue{Header: h, Access: Digest{1}, Identity: Identity{Scope: []string{}}}),
		"scope twice":            AppendCommand(nil, Issue{Header: h, Access: Digest{1}, Identity: Identity{Scope: []string{"a", "a"}}}),
		"scope out of order":     AppendCommand(nil, Refresh{Header: h, Salt: Salt{1}, Presented: Digest{1}, Access: Digest{2}, Refresh: Digest{3}, Scope: []string{"b", "a"}}),
		"present actor of zero":  bytes.Replace(valid, []byte("\x05actor\x0cdefault_file\x04file"), make([]byte, 3), 1),
		"collect nothing":        AppendCommand(nil, CollectExpired{h, 0}),
		"collect too much":       AppendCommand(nil, CollectExpired{h, MaxCollect + 1}),
		"lease of nobody":        AppendCommand(nil, Lease{h, "", 1, 1, 1000}),
		"lease of no time":       AppendCommand(nil, Lease{h, "a", 1, 1, 0}),
		"lease too long":         AppendCommand(nil, Lease{h, "a", 1, 1, MaxLease + 1}),
		"no level":               AppendCommand(nil, RaiseLevel{Header: h}),
		"chunk of no restore":    AppendCommand(nil, RestoreChunk{Header: h, Data: []byte{1}}),
		"empty chunk":            AppendCommand(nil, RestoreChunk{Header: h, Restore: [16]byte{1}}),
		"chunk too large":        AppendCommand(nil, RestoreChunk{Header: Header{Operation: h.Operation}, Restore: [16]byte{1}, Data: make([]byte, MaxChunkBytes+1)}),
		"restore of nothing":     AppendCommand(nil, Restore{Header: h, From: [16]byte{1}}),
		"restore of no cluster":  AppendCommand(nil, Restore{Header: h, Restore: [16]byte{1}}),
		"epoch too large":        AppendCommand(nil, Restore{Header: h, Restore: [16]byte{1}, From: [16]byte{1}, Epoch: 1<<63 + 1}),
	}
	for name, b := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c, err := DecodeCommand(b); !errors.Is(err, ErrUnreadable) || c != nil {
				t.Errorf("want ErrUnreadable, got %v, %v", c, err)
			}
		})
	}
}

// TestDecodeCommandPrefixes cuts every golden command everywhere.
func TestDecodeCommandPrefixes(t *testing.T) {
	t.Parallel()
	for name, c := range goldens() {
		b := AppendCommand(nil, c)
		for n := range b {
			if _, err := DecodeCommand(b[:n]); !errors.Is(err, ErrUnreadable) {
				t.Fatalf("%s cut to %d bytes: %v", name, n, err)
			}
		}
	}
}

// TestCommandRoundTrip encodes and decodes random commands.
func TestCommandRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		l := &logs{t: rt}
		c := l.fresh()
		b := AppendCommand(nil, c)
		got, err := DecodeCommand(b)
		if err != nil {
			rt.Fatal(err)
		}
		if d := cmp.Diff(c, got); d != "" {
			rt.Fatalf("-want +got:\n%s", d)
		}
		if !bytes.Equal(b, AppendCommand(nil, got)) {
			rt.Fatal("encoded again, the bytes differ")
		}
	})
}

// TestDecodedCommandOwnsItsBytes: the log's buffer is used again.
func TestDecodedCommandOwnsItsBytes(t *testing.T) {
	t.Parallel()
	want := goldens()["issue"]
	b := AppendCommand(nil, want)
	got, err := DecodeCommand(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestOperationIsNamedOnce(t *testing.T) {
	t.Parallel()
	nameless := AppendCommand(nil, DeleteUser{Header{}, "ada"})
	OperationID{7}.Name(nameless)
	if d := cmp.Diff(AppendCommand(nil, DeleteUser{Header{Operation: OperationID{7}}, "ada"}), nameless); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	named := AppendCommand(nil, DeleteUser{Header{Operation: OperationID{8}}, "ada"})
	OperationID{7}.Name(named)
	if d := cmp.Diff(AppendCommand(nil, DeleteUser{Header{Operation: OperationID{8}}, "ada"}), named); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestKindString(t *testing.T) {
	t.Parallel()
	if got := Kind(200).String(); got != "kind 200" {
		t.Errorf("got %q", got)
	}
}

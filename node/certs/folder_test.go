package certs_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"jeton/node/certs"
)

func newFolder(t *testing.T) certs.Folder {
	t.Helper()
	folder := certs.Folder{Path: filepath.Join(t.TempDir(), "certs"), Now: func() time.Time { return start }}
	if err := folder.Create("jeton", 10*year); err != nil {
		t.Fatal(err)
	}
	return folder
}

func issue(t *testing.T, folder certs.Folder, request certs.NodeRequest) {
	t.Helper()
	if err := folder.IssueNode(request); err != nil {
		t.Fatal(err)
	}
}

func requestFor(node string) certs.NodeRequest {
	return certs.NodeRequest{Identity: certs.Identity{Cluster: "jeton", Node: node}, Hosts: []string{"localhost"}, Lifetime: 90 * day}
}

// modes lists what is under a folder, with permissions.
func modes(t *testing.T, root string) map[string]fs.FileMode {
	t.Helper()
	found := map[string]fs.FileMode{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		found[name] = info.Mode()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func content(t *testing.T, path string) []byte {
	t.Helper()
	read, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return read
}

func TestFolderIsPrivateAndComplete(t *testing.T) {
	folder := newFolder(t)
	issue(t, folder, requestFor("a"))
	want := map[string]fs.FileMode{
		".":                0o700 | fs.ModeDir,
		"a":                0o700 | fs.ModeDir,
		"a/http.crt":       0o644,
		"a/http.key":       0o600,
		"a/transport.crt":  0o644,
		"a/transport.key":  0o600,
		"cluster.key":      0o600,
		"http-ca.crt":      0o644,
		"http-ca.key":      0o600,
		"transport-ca.crt": 0o644,
		"transport-ca.key": 0o600,
	}
	if diff := cmp.Diff(want, modes(t, folder.Path)); diff != "" {
		t.Error(diff)
	}
}

func TestFolderReplacesNothingSilently(t *testing.T) {
	folder := newFolder(t)
	issue(t, folder, requestFor("a"))
	before := content(t, folder.NodeTransport("a").Key)

	if err := folder.Create("jeton", year); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create again: %v, want fs.ErrExist", err)
	}
	if err := folder.IssueNode(requestFor("a")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("IssueNode again: %v, want fs.ErrExist", err)
	}
	if err := certs.CreateClusterKey(folder.ClusterKey()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("CreateClusterKey again: %v, want fs.ErrExist", err)
	}
	if !bytes.Equal(before, content(t, folder.NodeTransport("a").Key)) {
		t.Error("the key was replaced")
	}
}

func TestFolderWritesNothingIfOneFileExists(t *testing.T) {
	folder := newFolder(t)
	existing := folder.NodeHTTP("a").Certificate
	if err := errors.Join(os.Mkdir(filepath.Dir(existing), 0o700), os.WriteFile(existing, []byte("mine"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := folder.IssueNode(requestFor("a")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("IssueNode: %v, want fs.ErrExist", err)
	}
	want := map[string]fs.FileMode{".": 0o700 | fs.ModeDir, "http.crt": 0o600}
	if diff := cmp.Diff(want, modes(t, filepath.Dir(existing))); diff != "" {
		t.Error(diff)
	}
}

func TestFolderRenewsWhenTold(t *testing.T) {
	folder := newFolder(t)
	issue(t, folder, requestFor("a"))
	before := content(t, folder.NodeTransport("a").Key)
	renewal := requestFor("a")
	renewal.Replace = true
	issue(t, folder, renewal)
	if bytes.Equal(before, content(t, folder.NodeTransport("a").Key)) {
		t.Error("the key is the old one")
	}
	if _, err := certs.NewTransport(folder.NodeTransport("a"), renewal.Identity, folder.Now); err != nil {
		t.Error(err)
	}
}

func TestFolderAuthoritiesAreSeparate(t *testing.T) {
	folder := newFolder(t)
	transport, http := content(t, folder.TransportCA().Certificate), content(t, folder.HTTPCA().Certificate)
	if bytes.Equal(parse(t, transport).RawSubjectPublicKeyInfo, parse(t, http).RawSubjectPublicKeyInfo) {
		t.Error("transport and HTTP have one key")
	}
}

func TestLoadAuthorityRefusesAnEndCertificate(t *testing.T) {
	folder := newFolder(t)
	issue(t, folder, requestFor("a"))
	files := folder.NodeTransport("a")
	if _, err := certs.LoadAuthority(files.Certificate, files.Key); err == nil {
		t.Error("loaded a node's certificate as an authority")
	}
}

func TestClusterKey(t *testing.T) {
	const good = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	for name, test := range map[string]struct {
		content string
		mode    fs.FileMode
		problem string // part of the error; empty: none
	}{
		"as written":      {good + "\n", 0o600, ""},
		"read only":       {good, 0o400, ""},
		"readable by all": {good, 0o644, "chmod 600"},
		"readable by the group, owned by ourselves": {good, 0o640, "chmod 600"},
		"writable by the group":                     {good, 0o620, "chmod 600"},
		"too short":                                 {good[2:], 0o600, "32 bytes in hexadecimal"},
		"too long":                                  {good + "00", 0o600, "32 bytes in hexadecimal"},
		"not hexadecimal":                           {"zz" + good[2:], 0o600, "32 bytes in hexadecimal"},
		"empty":                                     {"", 0o600, "32 bytes in hexadecimal"},
		"another file, readable by all":             {"root:x:0:0:root:/root:/bin/sh\n", 0o644, "cluster.key holds no cluster key"},
		"huge":                                      {strings.Repeat("0", 1<<20+1), 0o600, "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "cluster.key")
			if err := errors.Join(os.WriteFile(path, []byte(test.content), 0o600), os.Chmod(path, test.mode)); err != nil {
				t.Fatal(err)
			}
			key, err := certs.LoadClusterKey(path)
			switch {
			case test.problem == "" && (err != nil || len(key) != 32 || key[31] != 0x1f):
				t.Errorf("key of %d bytes, error %v", len(key), err)
			case test.problem != "" && (err == nil || !strings.Contains(err.Error(), test.problem)):
				t.Errorf("error %v, want one with %q", err, test.problem)
			case err != nil && strings.Contains(err.Error(), "chmod") && test.content[:2] != "00":
				t.Errorf("the permissions of a file that is no key are to be changed: %v", err)
			case err != nil && strings.Contains(err.Error(), "0a0b0c"):
				t.Errorf("the error tells the key: %v", err)
			}
		})
	}
}

func TestClusterKeysDiffer(t *testing.T) {
	var keys [][]byte
	for range 2 {
		key, err := certs.LoadClusterKey(newFolder(t).ClusterKey())
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	if bytes.Equal(keys[0], keys[1]) {
		t.Error("two clusters have one key")
	}
}

func TestLoadClusterKeyNamesAMissingFile(t *testing.T) {
	_, err := certs.LoadClusterKey(filepath.Join(t.TempDir(), "cluster.key"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want fs.ErrNotExist", err)
	}
}

func TestSecretsOfRootMayBeReadByAGroup(t *testing.T) {
	for name, test := range map[string]struct {
		rootsOwn, weAreRoot bool
		want                fs.FileMode
	}{
		"our own":                    {false, false, 0o600},
		"our own, and we are root":   {true, true, 0o600},
		"root's, mounted for us":     {true, false, 0o640},
		"another's, and we are root": {false, true, 0o600},
	} {
		t.Run(name, func(t *testing.T) {
			if got := certs.AllowedMode(test.rootsOwn, test.weAreRoot); got != test.want {
				t.Errorf("mode %04o, want %04o", got, test.want)
			}
		})
	}
}

package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAFolderOfAnotherUserIsRefused(t *testing.T) {
	dir := t.TempDir()
	own := os.Geteuid()
	for _, test := range []struct {
		path string
		user int
		want string
	}{
		{dir, own, ""},
		{filepath.Join(dir, "new"), own + 1, ""},
		{dir, own + 1, dir + " belongs to user "},
		{dir, 0, ""}, // root may use everybody's
	} {
		err := checkOwner(test.path, test.user)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s by %d: %v", test.path, test.user, err)
		}
	}
	if err := CheckOwner(dir); err != nil {
		t.Errorf("our own: %v", err)
	}
}

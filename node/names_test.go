package node

import (
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"jeton/cluster"
)

func TestMembersKeepTheirNamesWhenTheyAreSilent(t *testing.T) {
	var book nameBook
	want := func(when string, id raft.ServerID, name string) {
		t.Helper()
		if got := book.of(id); got != name {
			t.Errorf("%s: %q, want %q", when, got, name)
		}
	}
	want("unheard", "1", "")
	book.heard([]cluster.Status{{ServerID: "1", Name: "a", Members: []cluster.Member{{ID: "1"}, {ID: "2", Name: "b"}, {ID: "3"}}}})
	want("by its own word", "1", "a")
	want("by another's", "2", "b")
	want("that nobody knows", "3", "")
	book.heard([]cluster.Status{{ServerID: "2", Name: "new", Members: []cluster.Member{{ID: "1", Name: "old"}, {ID: "2", Name: "b"}}}})
	want("which another calls otherwise", "1", "a")
	want("by its own newer word", "2", "new")
	book.heard([]cluster.Status{{ServerID: "1", Members: []cluster.Member{{ID: "2"}}}})
	want("that says nothing", "1", "a")
	for i := range 2 * maxNames {
		book.heard([]cluster.Status{{ServerID: raft.ServerID("s" + strconv.Itoa(i)), Name: "n"}})
	}
	if len(book.byID) != maxNames {
		t.Errorf("%d names", len(book.byID))
	}
	book.heard([]cluster.Status{{ServerID: "1", Name: "z"}})
	want("after very many others", "1", "z")
	book.heard([]cluster.Status{{ServerID: "1", Name: strings.Repeat("x", maxName-1) + "é"}}) // which everybody would repeat
	want("a long one", "1", strings.Repeat("x", maxName-1))
}

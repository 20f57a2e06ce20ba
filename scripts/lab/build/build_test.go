package build

import (
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// A defect that does not apply, or does not compile, proves nothing. The product is
// changed all the time, and so must the defects be.
func TestEveryDefectCanBePlanted(t *testing.T) {
	defects := Planted()
	if len(defects) == 0 {
		t.Fatal("no defects")
	}
	for _, d := range defects {
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel()
			if len(d.What) < 40 || !strings.HasSuffix(d.What, ".") {
				t.Errorf("a sentence must say what it breaks: %q", d.What)
			}
			patch, err := readPatch(d.Name)
			if err != nil {
				t.Fatal(err)
			}
			var packages []string
			for _, file := range files(patch) {
				packages = append(packages, "./"+path.Dir(file))
			}
			if len(packages) == 0 {
				t.Fatal("it changes nothing")
			}
			if err := goBuild(t.Context(), d.Name, packages...); err != nil {
				t.Error(err)
			}
		})
	}
}

// The laboratory's clocks stand for the node's: a file that is called otherwise one day
// would be replaced by nothing.
func TestTheLaboratorysClocksReplaceTheNodes(t *testing.T) {
	root, err := moduleRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for file := range replaced {
		if _, err := os.Stat(filepath.Join(root, file)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	if err := goBuild(t.Context(), "", "./node"); err != nil {
		t.Error(err)
	}
}

func TestAnUnknownDefectIsRefused(t *testing.T) {
	if err := goBuild(t.Context(), "nobody-wrote-this", "./node"); err == nil {
		t.Error("built")
	}
}

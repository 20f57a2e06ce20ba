package build

import (
	"context"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

//go:embed planted/*.patch
var patches embed.FS

// Defect is a plausible shortcut that the laboratory must notice.
type Defect struct {
	Name string
	What string // the shortcut, and what it breaks
}

// Planted returns the defects there are, by their names.
func Planted() []Defect {
	entries, err := patches.ReadDir("planted")
	if err != nil {
		panic(err) // it is embedded
	}
	defects := make([]Defect, 0, len(entries))
	for _, entry := range entries {
		name := strings.TrimSuffix(entry.Name(), ".patch")
		patch, err := readPatch(name)
		if err != nil {
			panic(err) // it is embedded
		}
		what, _, _ := strings.Cut(string(patch), "\n--- ")
		defects = append(defects, Defect{Name: name, What: strings.Join(strings.Fields(what), " ")})
	}
	return defects
}

func readPatch(name string) ([]byte, error) {
	patch, err := patches.ReadFile("planted/" + name + ".patch")
	if err != nil {
		return nil, fmt.Errorf("there is no planted defect %s: %w", name, err)
	}
	return patch, nil
}

// patched finds the files that a patch changes.
var patched = regexp.MustCompile(`(?m)^\+\+\+ b/(\S+)$`)

// files returns the paths, in the module, that a patch changes.
func files(patch []byte) (paths []string) {
	for _, match := range patched.FindAllSubmatch(patch, -1) {
		paths = append(paths, string(match[1]))
	}
	return paths
}

// plant copies what a patch changes to a folder, applies it there, and returns what the
// copies stand for: path in the module -> file.
func plant(ctx context.Context, root, folder, name string) (map[string]string, error) {
	patch, err := readPatch(name)
	if err != nil {
		return nil, err
	}
	copies := filepath.Join(folder, "planted")
	overlay := make(map[string]string)
	for _, path := range files(patch) {
		overlay[path] = filepath.Join(copies, path)
		source, err := os.ReadFile(filepath.Join(root, path))
		if os.IsNotExist(err) {
			continue // the patch makes it, or git says that it does not apply
		}
		if err != nil {
			return nil, fmt.Errorf("copy what %s changes: %w", name, err)
		}
		if err := os.MkdirAll(filepath.Dir(overlay[path]), 0o750); err != nil {
			return nil, fmt.Errorf("copy what %s changes: %w", name, err)
		}
		if err := os.WriteFile(overlay[path], source, 0o600); err != nil {
			return nil, fmt.Errorf("copy what %s changes: %w", name, err)
		}
	}
	file := filepath.Join(folder, name+".patch")
	if err := os.WriteFile(file, patch, 0o600); err != nil {
		return nil, fmt.Errorf("write the patch %s: %w", name, err)
	}
	// In a repository of its own, lest git take the copies for files of one around them.
	if _, err := output(ctx, copies, "git", "init", "--quiet"); err != nil {
		return nil, fmt.Errorf("apply the patch %s: %w", name, err)
	}
	if _, err := output(ctx, copies, "git", "apply", file); err != nil {
		return nil, fmt.Errorf("scripts/lab/build/planted/%s.patch does not apply any more: what it changes has been "+
			"changed. Make the same mistake in the new code and write it down again, with git diff -U2: %w", name, err)
	}
	return overlay, nil
}
